//! Trainings of many epochs on few pictures: their memory stays what it was.

use std::path::Path;

use crate::commands::{command, folder};
use crate::common::small::{start, wait_for};
use crate::pictures;

/// Memory of a process now and at most so far, MB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    now: f64,
    peak: f64,
}

fn memory(process: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let of = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.unwrap().trim_end_matches("kB").trim();
        kilobytes.parse::<f64>().unwrap() / 1000.0
    };
    Memory {
        now: of("VmRSS:"),
        peak: of("VmHWM:"),
    }
}

/// The memory of a training when it has done `early` epochs, and `late`.
fn at(folder: &Path, train: &str, early: usize, late: usize) -> (Memory, Memory) {
    let words = format!(
        "{train} --out run --workers 1 --set train.epochs={}",
        late + 1
    );
    let run = folder.join("run");
    if run.exists() {
        // Its rows are another training's.
        std::fs::remove_dir_all(&run).unwrap();
    }
    let mut child = start(folder, &words.split_whitespace().collect::<Vec<_>>());
    let rows = run.join("epochs.csv");
    let mut after = |epochs: usize| {
        // A header and a row an epoch.
        let done = || std::fs::read_to_string(&rows).is_ok_and(|t| t.lines().count() > epochs);
        assert!(wait_for(&mut child, done), "{words}");
        memory(child.id())
    };
    let found = (after(early), after(late));
    assert!(child.wait().unwrap().success());
    assert!(found.0.now > 5.0, "{found:?}");
    found
}

/// What a training may need more after many epochs than after some, MB: the allocator's pieces.
const MORE: f64 = 3.0;

fn stays(early: usize, late: usize) {
    let small = folder(command("train"));
    let own = pictures::folder();
    for (what, folder, train) in [
        (
            "a network with all that is kept beside it",
            &small,
            "train small.toml --method erm --set train.keep_every=0 --set train.ema_decay=0.9 \
             --set train.tensorboard=true",
        ),
        (
            "on pictures of a folder",
            &own,
            "train own.toml --cache-memory 16 --cache-folder cache --set train.checkpoint_steps=50",
        ),
        (
            "on kept features",
            &small,
            "train small.toml --method erm --features-folder kept \
             --set train.keep_every=0 --set model.frozen_stages=4 --set model.norm_eval=true",
        ),
    ] {
        let (before, after) = at(folder.path(), train, early, late);
        println!(
            "{what}: {:.1} MB after {early} epochs (at most {:.1}), {:.1} MB after {late} (at most {:.1})",
            before.now, before.peak, after.now, after.peak
        );
        assert!(
            after.peak - before.peak < MORE,
            "{what}: {before:?}, {after:?}"
        );
    }
}

#[test]
fn memory_does_not_grow_with_the_epochs() {
    stays(10, 50);
}

#[test]
#[ignore = "600 epochs take minutes"]
fn memory_is_flat_over_two_hundred_epochs() {
    stays(20, 200);
}
