//! SIGKILL at moments of chance, then the same command again.

use std::path::Path;
use std::time::{Duration, Instant};

use dbloss::rng::Stream;

use crate::commands::{COMMANDS, Disturbed, command, folder};
use crate::common::tree::{Tree, assert_no_halves, assert_same, tree};

/// What a command leaves that nobody disturbs, and how long it takes.
fn undisturbed(command: &Disturbed, folder: &Path) -> (Tree, Duration) {
    let start = Instant::now();
    command.finish(folder);
    let took = start.elapsed();
    let whole = tree(folder, command.leaves);
    assert!(!whole.is_empty());
    command.clear(folder);
    (whole, took)
}

/// Starts the command and kills it after `delay`, with all its children if `group` is set; false if
/// it ended before that.
fn kill_after(command: &Disturbed, folder: &Path, delay: Duration, group: bool) -> bool {
    use std::os::unix::process::CommandExt;
    let mut child = command.process(folder).process_group(0).spawn().unwrap();
    std::thread::sleep(delay);
    if let Some(status) = child.try_wait().unwrap() {
        assert!(status.success(), "{}: {status}", command.name);
        return false;
    }
    let target = match group {
        true => format!("-{}", child.id()),
        false => child.id().to_string(),
    };
    let killed = std::process::Command::new("kill")
        .args(["-KILL", "--", &target])
        .status();
    assert!(killed.unwrap().success());
    child.wait().unwrap();
    true
}

/// Kills the command `kills` times, up to four times in a row before it may end, and holds every
/// folder against that of a run that nobody disturbed.
fn survive(command: &Disturbed, kills: usize, stream: &mut Stream) {
    let folder = folder(command);
    let folder = folder.path();
    let (whole, took) = undisturbed(command, folder);
    let (mut done, mut folders) = (0, 0);
    while done < kills {
        let mut before = 0;
        for _ in 0..=stream.below(4) {
            // Later moments too: a command that goes on has less to do.
            let delay = took.mul_f64(stream.below(1000) as f64 / 900.0);
            let group = stream.chance(0.5);
            if !kill_after(command, folder, delay, group) {
                break;
            }
            before += 1;
            let what = format!("{} after {before} kills", command.name);
            assert_no_halves(&tree(folder, command.leaves), &whole, &what);
        }
        command.finish(folder);
        done += before;
        folders += 1;
        let what = format!("{}, killed {before} times", command.name);
        assert_same(&tree(folder, command.leaves), &whole, &what);
        command.clear(folder);
    }
    println!("{}: {done} kills, {folders} folders the same", command.name);
}

fn few(name: &str, kills: usize) {
    survive(command(name), kills, &mut Stream::new(0, name, 0, 0));
}

#[test]
fn a_killed_training_ends_with_the_same_files() {
    few("train", 4);
}

#[test]
fn a_killed_experiment_ends_with_the_same_files() {
    few("run", 3);
}

#[test]
fn a_killed_sweep_ends_with_the_same_files() {
    few("sweep", 2);
}

#[test]
fn a_killed_tuning_ends_with_the_same_files() {
    few("tune", 2);
}

#[test]
fn killed_features_predictions_and_exports_are_whole_or_not_there() {
    for name in ["features", "features --out", "predict", "export"] {
        few(name, 2);
    }
}

#[test]
#[ignore = "hundreds of kills take half an hour; run it after a change to what writes files"]
fn hundreds_of_kills_lose_nothing() {
    let variable = |name: &str, usual| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (kills, seed) = (variable("DBLOSS_KILLS", 40), variable("DBLOSS_SEED", 1));
    let only = std::env::var("DBLOSS_COMMAND").ok();
    for command in COMMANDS {
        if only.as_ref().is_none_or(|only| only == command.name) {
            survive(
                command,
                kills,
                &mut Stream::new(seed as u64, command.name, 0, 0),
            );
        }
    }
}
