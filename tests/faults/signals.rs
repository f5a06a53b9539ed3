//! Signals: what asks a training to save, and what ends it.

use std::time::{Duration, Instant};

use crate::commands::{command, folder};
use crate::common::small::{read, signal, wait_for};
use crate::common::tree::{assert_same, tree};

#[test]
fn sigusr1_saves_and_goes_on() {
    let mut command = *command("train");
    // No checkpoint of its own accord before the end of an epoch.
    command.arguments =
        "train small.toml --method erm --out run --workers 1 --set train.checkpoint_steps=1000";
    let folder = folder(&command);
    let folder = folder.path();
    command.finish(folder);
    let whole = tree(folder, command.leaves);
    command.clear(folder);
    let last = folder.join("run/checkpoints/last.safetensors");
    let mut child = command.process(folder).spawn().unwrap();
    // The configuration is written when the process listens already.
    assert!(wait_for(&mut child, || folder
        .join("run/steps.csv")
        .is_file()));
    signal(child.id(), "USR1");
    assert!(wait_for(&mut child, || last.is_file()));
    assert!(child.wait().unwrap().success());
    assert!(read(&folder.join("run/manifest.json")).contains("\"finished\""));
    assert_same(&tree(folder, command.leaves), &whole, "SIGUSR1");
}

#[test]
fn a_second_sigint_leaves_at_once_and_nothing_is_lost() {
    let command = command("train");
    let folder = folder(command);
    let folder = folder.path();
    command.finish(folder);
    let whole = tree(folder, command.leaves);
    command.clear(folder);
    let mut child = command.process(folder).spawn().unwrap();
    let last = folder.join("run/checkpoints/last.safetensors");
    assert!(wait_for(&mut child, || last.is_file()));
    signal(child.id(), "INT");
    signal(child.id(), "INT");
    let start = Instant::now();
    let status = child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(130));
    command.finish(folder);
    assert_same(&tree(folder, command.leaves), &whole, "two SIGINT");
}
