//! Runs a sweep through Slurm: a job array with one task a run.
//!
//! The job script `exec`s dbloss, so that Slurm's signal before the time limit (`--signal=B:USR1`)
//! reaches the training itself, which saves, puts its task back into the queue and leaves.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::io::write_text;

/// `[slurm]`: what one run asks of Slurm. Whatever is left out is the cluster's default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    /// Time limit of a task, as `sbatch --time` takes it: `02:00:00`, `1-12`, minutes. A run that
    /// needs longer is put back into the queue and goes on.
    pub time: Option<String>,
    /// Partition.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Features that the node must have.
    pub constraint: Option<String>,
    /// Memory of a task: `8G`, or megabytes.
    pub memory: Option<String>,
    /// Processor cores of a task, 1; the engine takes as many threads.
    pub cpus: usize,
    /// GPUs of a task, 0.
    pub gpus: usize,
    /// Kind of the GPUs, as in `--gres=gpu:KIND:N`.
    pub gpu_kind: Option<String>,
    /// Tasks at a time; all that fit without it.
    pub max_running: Option<usize>,
    /// Seconds before the time limit at which a run saves and is put back, 120.
    pub signal_seconds: u32,
    /// More options of `sbatch`, for example `--exclude=node7`.
    pub options: Vec<String>,
    /// Lines of shell before the run, for example `module load cuda`.
    pub setup: Vec<String>,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        SlurmConfig {
            time: None,
            partition: None,
            account: None,
            qos: None,
            constraint: None,
            memory: None,
            cpus: 1,
            gpus: 0,
            gpu_kind: None,
            max_running: None,
            signal_seconds: 120,
            options: Vec::new(),
            setup: Vec::new(),
        }
    }
}

impl SlurmConfig {
    /// Checks what would make a script that says something else than meant.
    pub fn check(&self, file: &Path) -> Result<()> {
        let wrong = |key: &str, problem: String| {
            Err(Error::file(
                file,
                format_args!("[slurm] `{key}`: {problem}"),
            ))
        };
        let time = self.time.iter().map(|value| ("time", value));
        let texts = time
            .chain(self.partition.iter().map(|value| ("partition", value)))
            .chain(self.account.iter().map(|value| ("account", value)))
            .chain(self.qos.iter().map(|value| ("qos", value)))
            .chain(self.constraint.iter().map(|value| ("constraint", value)))
            .chain(self.memory.iter().map(|value| ("memory", value)))
            .chain(self.gpu_kind.iter().map(|value| ("gpu_kind", value)))
            .chain(self.options.iter().map(|value| ("options", value)));
        for (key, value) in texts {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '#') {
                return wrong(key, format!("`{value}` is empty, or holds a blank or `#`"));
            }
        }
        let digits = |c: char| c.is_ascii_digit() || c == ':' || c == '-';
        if let Some(time) = &self.time
            && (!time.starts_with(|c: char| c.is_ascii_digit()) || !time.chars().all(digits))
        {
            let problem = format!("`{time}` is no time, expected for example `02:00:00` or `1-12`");
            return wrong("time", problem);
        }
        if let Some(option) = self.options.iter().find(|option| !option.starts_with('-')) {
            return wrong("options", format!("`{option}` is no option of sbatch"));
        }
        if self.cpus == 0 || self.max_running == Some(0) {
            return wrong("cpus", "and `max_running` are at least 1".to_owned());
        }
        Ok(())
    }
}

/// A task of the array that Slurm knows: a run that waits or is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Index of the run in the plan.
    pub index: usize,
    /// Slurm's state, for example `PENDING` or `RUNNING`.
    pub state: String,
    /// The node, or why it waits.
    pub reason: String,
}

/// What was submitted: `slurm/job.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Submitted {
    job: String,
    runs: Vec<String>,
}

/// The Slurm side of a sweep.
#[derive(Debug)]
pub struct Slurm<'a> {
    plan: &'a Plan,
}

impl<'a> Slurm<'a> {
    /// The Slurm side of `plan`.
    pub fn new(plan: &'a Plan) -> Self {
        Slurm { plan }
    }

    /// Submits the runs of these indices as one job array, and gives back the job's number.
    /// `program` is dbloss, at a path that the nodes see too, as they have to see the sweep's
    /// folder. `task_options` are options of `dbloss sweep-task`.
    pub fn submit(
        &self,
        config: &SlurmConfig,
        indices: &[usize],
        program: &Path,
        task_options: &[String],
    ) -> Result<String> {
        let tasks = self.tasks()?;
        if let Some(job) = self.job()?
            && !tasks.is_empty()
        {
            let problem = format!("job {job} still has {} tasks of this sweep", tasks.len());
            return Err(Error::file(&self.plan.home, problem)
                .hint("`dbloss sweep status` shows them, `dbloss sweep cancel` ends them"));
        }
        let folder = self.folder();
        fs_err::create_dir_all(&folder)?;
        let script = folder.join("job.sh");
        write_text(&script, &self.script(config, program, task_options)?)?;
        let limit = config
            .max_running
            .map_or(String::new(), |n| format!("%{n}"));
        let output = call(
            Command::new("sbatch")
                .arg("--parsable")
                .arg(format!("--array={}{limit}", ranges(indices)))
                .arg(&script),
        )?;
        // `JOB` or `JOB;CLUSTER`.
        let job = output
            .trim()
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        let submitted = Submitted {
            job: job.clone(),
            runs: self.plan.runs.iter().map(|run| run.name.clone()).collect(),
        };
        let path = folder.join("job.json");
        let text = serde_json::to_string_pretty(&submitted)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        write_text(&path, &(text + "\n"))?;
        Ok(job)
    }

    /// The job that was submitted last, if there was one.
    pub fn job(&self) -> Result<Option<String>> {
        Ok(self.submitted()?.map(|submitted| submitted.job))
    }

    /// The tasks that still wait or run.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let Some(Submitted { job, runs }) = self.submitted()? else {
            return Ok(Vec::new());
        };
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--jobs", &job, "--format=%K|%T|%R"]);
        let output = match call(&mut command) {
            Ok(output) => output,
            // Slurm forgets a job some minutes after its end.
            Err(error) if error.to_string().contains("Invalid job id") => String::new(),
            Err(error) => return Err(error),
        };
        let tasks = output.lines().filter_map(|line| {
            let mut cells = line.trim().splitn(3, '|');
            let index: usize = cells.next()?.parse().ok()?;
            // The sweep file may have changed since: the name is what counts.
            let name = runs.get(index)?;
            let index = self.plan.runs.iter().position(|run| run.name == *name)?;
            Some(Task {
                index,
                state: cells.next()?.to_owned(),
                reason: cells.next().unwrap_or_default().to_owned(),
            })
        });
        Ok(tasks.collect())
    }

    /// Cancels the job; the runs under way save and leave. Gives back how many tasks it had.
    pub fn cancel(&self) -> Result<usize> {
        let tasks = self.tasks()?.len();
        if let Some(job) = self.job()?
            && tasks > 0
        {
            call(Command::new("scancel").arg(job))?;
        }
        Ok(tasks)
    }

    fn folder(&self) -> PathBuf {
        self.plan.home.join("slurm")
    }

    fn submitted(&self) -> Result<Option<Submitted>> {
        let path = self.folder().join("job.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|e| Error::file(&path, format_args!("is not a submitted job: {e}")))
    }

    fn script(&self, config: &SlurmConfig, program: &Path, options: &[String]) -> Result<String> {
        let home = std::path::absolute(&self.plan.home)?;
        let here = std::env::current_dir()?;
        let logs = home.join("logs");
        for path in [&home, &here] {
            if path.to_string_lossy().contains(['"', '\n', '%', '\\']) {
                return Err(Error::file(
                    path,
                    "Slurm does not take such a name for a folder",
                ));
            }
        }
        let mut lines = vec![
            format!("--job-name=dbloss-{}", self.plan.name),
            format!("--chdir=\"{}\"", here.display()),
            format!("--output=\"{}/slurm-%A_%a.log\"", logs.display()),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            format!("--signal=B:USR1@{}", config.signal_seconds),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={}", config.cpus),
        ];
        let mut add = |option: &str, value: &Option<String>| {
            lines.extend(value.iter().map(|value| format!("--{option}={value}")));
        };
        add("time", &config.time);
        add("partition", &config.partition);
        add("account", &config.account);
        add("qos", &config.qos);
        add("constraint", &config.constraint);
        add("mem", &config.memory);
        if config.gpus > 0 {
            let kind = config.gpu_kind.iter().map(|kind| format!("{kind}:"));
            lines.push(format!(
                "--gres=gpu:{}{}",
                kind.collect::<String>(),
                config.gpus
            ));
        }
        lines.extend(config.options.iter().cloned());
        let mut script = "#!/bin/bash\n".to_owned();
        lines
            .iter()
            .for_each(|line| script.push_str(&format!("#SBATCH {line}\n")));
        script.push_str(
            "\n# Written by `dbloss sweep --executor slurm`; a later call writes it anew.\n",
        );
        // Until dbloss listens, a signal that asks to save has nothing to ask for.
        script.push_str("trap '' USR1\n");
        config
            .setup
            .iter()
            .for_each(|line| script.push_str(&format!("{line}\n")));
        // The program takes the script's place: signals for the script reach the training.
        script.push_str(&format!(
            "exec {} sweep-task {} --index \"$SLURM_ARRAY_TASK_ID\" --slurm --threads {}",
            quoted(&program.to_string_lossy()),
            quoted(&home.to_string_lossy()),
            config.cpus
        ));
        options
            .iter()
            .for_each(|option| script.push_str(&format!(" {}", quoted(option))));
        script.push('\n');
        Ok(script)
    }
}

/// What a task does that a signal stopped, once it has saved: if Slurm still wants it to run (the
/// time limit is near, or somebody sent it a signal), it goes back into the queue. A task that has
/// been cancelled, or that Slurm itself puts back, is left alone.
pub fn requeue_or_leave() -> Result<bool> {
    let Ok(job) = std::env::var("SLURM_JOB_ID") else {
        return Err(Error::argument("--slurm", "this is not a job of Slurm")
            .hint("`dbloss sweep SWEEP.toml --executor slurm` submits the runs"));
    };
    let state = call(Command::new("squeue").args(["--noheader", "--jobs", &job, "--format=%T"]))?;
    if state.trim() != "RUNNING" {
        tracing::info!(
            "saved; Slurm says {}, so the task is not put back",
            state.trim()
        );
        return Ok(false);
    }
    call(Command::new("scontrol").args(["requeue", &job]))?;
    Ok(true)
}

/// Runs a command of Slurm and gives back what it printed.
fn call(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::input(&name, "is not installed here")
            .hint("`--executor slurm` needs a login node of a cluster with Slurm"),
        _ => Error::input(&name, e),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    let problem = problem.trim().replace('\n', "; ");
    Err(Error::input(
        name,
        match problem.is_empty() {
            true => output.status.to_string(),
            false => problem,
        },
    ))
}

/// `0-3,7`: sorted numbers as an array of Slurm's.
fn ranges(indices: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => parts.push((index, index)),
        }
    }
    let parts = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// A word of shell that means itself.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[4]), "4");
    }

    #[test]
    fn a_quoted_word_is_one_word() {
        let word = "it's $HOME; `x` \"y\"";
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(word))])
            .output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word);
    }

    #[test]
    fn what_would_bend_the_script_is_refused() {
        for text in [
            "partition = 'a b'",
            "memory = \"1G\\nrm\"",
            "options = ['exclude']",
            "cpus = 0",
            "time = 'soon'",
        ] {
            let config: SlurmConfig = toml::from_str(text).unwrap();
            assert!(config.check(Path::new("s.toml")).is_err(), "{text}");
        }
        let good = "time = '1-12:00'\nmemory = '8G'\noptions = ['--exclude=n[1-3]']";
        let config: SlurmConfig = toml::from_str(good).unwrap();
        config.check(Path::new("s.toml")).unwrap();
    }
}
