//! Tests that a sweep and a tuning through a real Slurm (see tests/slurm/cluster.sh) give the same
//! tables as local ones.
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::small::{folder, program, read};

const SWEEP: &str = "experiment = 'small.toml'\nseeds = [0, 1]\n\
    [set]\ntrain.epochs = 6\n[slurm]\ntime = '00:10:00'\npartition = 'main'\nmemory = '1G'\nmax_running = 2\n\
    setup = ['export DBLOSS_TEST=1']\n";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/cluster.sh")
}

/// The cluster, which is stopped when the test ends, in any way.
struct Cluster(PathBuf);

impl Cluster {
    fn start(folder: PathBuf) -> Self {
        let cluster = Cluster(folder);
        let status = Command::new(script()).arg("start").arg(&cluster.0).status();
        assert!(status.unwrap().success(), "Slurm did not start");
        cluster
    }

    fn call(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.0.join("slurm.conf"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("stop").arg(&self.0).status();
    }
}

/// One cluster at a time: two would take each other's ports.
static ONE: Mutex<()> = Mutex::new(());

/// The folder of a test with its cluster, alone.
fn cluster(folder: &Path) -> (Cluster, MutexGuard<'static, ()>) {
    let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let check = Command::new(script()).arg("check").status().unwrap();
    assert!(check.success(), "tests/slurm/cluster.sh install");
    (Cluster::start(folder.join("slurm-daemons")), alone)
}

fn wait_until(what: &str, there: impl Fn() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs Slurm"]
fn a_sweep_through_slurm_survives_signals_requeues_and_a_cancel() {
    let folder = folder();
    std::fs::write(folder.path().join("s.toml"), SWEEP).unwrap();
    let (cluster, _alone) = cluster(folder.path());
    let sweep = |arguments: &[&str]| -> Output {
        Command::new(program())
            .current_dir(folder.path())
            .env("SLURM_CONF", cluster.0.join("slurm.conf"))
            .env_remove("DBLOSS_LOG")
            .arg("sweep")
            .args(arguments)
            .output()
            .unwrap()
    };
    let text = |output: &Output| {
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        String::from_utf8(both).unwrap()
    };
    let local = sweep(&["s.toml", "--out", "local", "--jobs", "2"]);
    assert!(local.status.success(), "{}", text(&local));

    let submit = ["s.toml", "--out", "slurm", "--executor", "slurm"];
    let submitted = sweep(&submit);
    assert!(submitted.status.success(), "{}", text(&submitted));
    let job = String::from_utf8(submitted.stdout)
        .unwrap()
        .trim()
        .to_owned();
    let home = folder.path().join("slurm/s");
    let started = |run: &str| {
        home.join(run)
            .join("checkpoints/last.safetensors")
            .is_file()
    };
    let manifest = |run: &str| {
        std::fs::read_to_string(home.join(run).join("manifest.json")).unwrap_or_default()
    };
    let log = |index: usize| {
        let path = home.join(format!("logs/slurm-{job}_{index}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    };
    wait_until("the first run", || started("erm-s0"));
    // Slurm sends this before the time limit: the run saves and is requeued. The test does not wait
    // for scancel, which keeps trying until it finds the task gone; that takes minutes.
    let mut asked = Command::new("scancel")
        .args(["--signal=USR1", "--batch", &format!("{job}_0")])
        .env("SLURM_CONF", cluster.0.join("slurm.conf"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the interrupted run", || {
        log(0).contains("interrupted: saved at step")
    });
    let _ = asked.kill();
    asked.wait().unwrap();
    wait_until("its way back into the queue", || {
        cluster
            .call("scontrol", &["show", "job", &format!("{job}_0")])
            .contains("Restarts=1")
    });
    // No second job for the same sweep.
    let again = sweep(&submit);
    assert!(text(&again).contains("still has"), "{}", text(&again));

    // The administrator requeues another task in the middle of its work.
    wait_until("the third run", || started("db-focal-s0"));
    cluster.call("scontrol", &["requeue", &format!("{job}_2")]);
    wait_until("the requeued run", || {
        log(2).contains("interrupted: saved at step")
    });
    let status = sweep(&["status", "slurm/s"]);
    assert!(text(&status).contains("pending"), "{}", text(&status));
    // Slurm waits two minutes before it restarts a task, unless told otherwise; within the second
    // of the requeue, its node would still refuse the task.
    std::thread::sleep(Duration::from_secs(3));
    wait_until("leave to begin at once", || {
        Command::new("scontrol")
            .args(["update", &format!("JobId={job}_0"), "StartTime=now"])
            .env("SLURM_CONF", cluster.0.join("slurm.conf"))
            .status()
            .is_ok_and(|status| status.success())
    });
    wait_until("the end of the interrupted run", || {
        manifest("erm-s0").contains("\"finished\"")
    });
    assert!(read(&home.join("slurm/job.sh")).contains("--signal=B:USR1@120"));

    // Cancelled for good: running tasks save, nothing is requeued, and a new submission continues.
    let cancelled = sweep(&["cancel", "slurm/s"]);
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    wait_until("the end of the job", || {
        cluster.call("squeue", &["--noheader"]).trim().is_empty()
    });
    let partial = sweep(&["collect", "slurm/s"]);
    assert_eq!(partial.status.code(), Some(5), "{}", text(&partial));
    let finished = sweep(&[&submit[..], &["--wait"]].concat());
    assert!(finished.status.success(), "{}", text(&finished));

    let mut files: Vec<String> = ["csv", "md", "svg"]
        .map(|e| format!("comparison.{e}"))
        .to_vec();
    for run in ["erm-s0", "erm-s1", "db-focal-s0", "db-focal-s1"] {
        files.push(format!("{run}/steps.csv"));
        files.push(format!("{run}/eval/test/predictions.csv"));
    }
    for file in files {
        let [a, b] =
            ["local", "slurm"].map(|out| read(&folder.path().join(out).join("s").join(&file)));
        assert!(a == b, "{file} differs");
    }
}

/// Two stages of methods, so that one fold's jobs depend on those before; one setting diverges.
const TUNE: &str = "experiment = 'two.toml'\nmethods = ['erm', 'crt']\nseeds = [0, 1]\n\
    [set]\ntrain.epochs = 1\nsplit.keep_at_least = 1\n\
    [grid]\n'optimizer.learning_rate' = [0.02, 1e30]\n[tune]\nfolds = 2\nsubsets = [3, 4]\n\
    [tune.start]\ncrt = 'erm'\n\
    [slurm]\ntime = '00:10:00'\npartition = 'main'\nmemory = '1G'\n";

/// A table without the column of times.
fn without_times(table: &str) -> String {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let keep = |row: &csv::StringRecord| -> String {
        let cells = row.iter().zip(&headers);
        let cells = cells
            .filter(|(_, name)| *name != "train_seconds")
            .map(|(cell, _)| cell);
        cells.collect::<Vec<_>>().join(",")
    };
    let rows: Vec<String> = reader.records().map(|row| keep(&row.unwrap())).collect();
    rows.join("\n")
}

#[test]
#[ignore = "needs Slurm"]
fn a_tuning_through_slurm_comes_to_what_this_machine_comes_to() {
    let folder = folder();
    let second = "extends = 'small.toml'\n[methods.crt]\nloss = { name = 'bce' }\n\
        sampler = { kind = 'class-aware', epoch_length = 100 }\nstart = { reset_head = true }\n";
    std::fs::write(folder.path().join("two.toml"), second).unwrap();
    std::fs::write(folder.path().join("t.toml"), TUNE).unwrap();
    let (cluster, _alone) = cluster(folder.path());
    let tune = |arguments: &[&str]| -> String {
        let output = Command::new(program())
            .current_dir(folder.path())
            .env("SLURM_CONF", cluster.0.join("slurm.conf"))
            .env_remove("DBLOSS_LOG")
            .args(["tune", "t.toml"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap() + &said
    };
    tune(&["--out", "local"]);
    tune(&["--out", "slurm", "--executor", "slurm"]);
    let home = |out: &str| folder.path().join(out).join("t");
    let mut files: Vec<String> = ["settings", "chosen", "sets", "thresholds", "final", "f1"]
        .map(|name| format!("{name}.csv"))
        .to_vec();
    files.extend(["chosen.toml".to_owned(), "index.html".to_owned()]);
    for run in ["subset-3/erm-s0", "subset-4/crt-s1"] {
        files.push(format!("final/{run}/eval/test/predictions.csv"));
        files.push(format!("final/{run}/eval/train/predictions.csv"));
    }
    for file in files {
        let [a, b] = ["local", "slurm"].map(|out| read(&home(out).join(&file)));
        assert!(a == b, "{file} differs:\n{a}\n{b}");
    }
    // Trials have times, and a second stage's configuration names the folder of the first.
    let of = |out: &str| without_times(&read(&home(out).join("trials.csv")));
    let rows = |table: String| -> Vec<Vec<String>> {
        let rows = table
            .lines()
            .map(|row| row.split(',').map(str::to_owned).collect());
        rows.collect()
    };
    for (a, b) in rows(of("local")).iter().zip(&rows(of("slurm"))) {
        assert_eq!(a[..5], b[..5]);
        assert_eq!(a.last(), b.last());
    }
    // What is there already is not handed over again.
    let jobs = || {
        cluster
            .call("scontrol", &["show", "config"])
            .lines()
            .map(str::to_owned)
            .find(|line| line.starts_with("NEXT_JOB_ID"))
    };
    let before = jobs();
    assert!(before.is_some());
    tune(&["--out", "slurm", "--executor", "slurm"]);
    assert_eq!(jobs(), before);
}
