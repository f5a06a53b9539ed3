//! Disks that are full, folders that cannot be written or that another process holds.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbloss::run_dir::RunDir;

use crate::commands::{COMMANDS, Disturbed, command, folder};
use crate::common::small::{dbloss, program, wait_for};
use crate::common::tree::{assert_no_halves, assert_same, tree};

/// What the command says where no file may have more than `blocks` half kilobytes: the system
/// refuses the write, as it does on a full disk. `None` if that was enough.
fn with_limit(command: &Disturbed, folder: &Path, blocks: usize) -> Option<String> {
    let program = program();
    // The signal that comes with the refusal is ignored, or it ends the process.
    let script = format!(
        "trap '' XFSZ; ulimit -f {blocks}; exec {:?} \"$@\"",
        program.display().to_string()
    );
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .args(command.words(folder))
        .current_dir(folder)
        .env_remove("DBLOSS_LOG")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => None,
        Some(_) => Some(said),
        None => panic!("{} was ended by a signal: {said}", command.name),
    }
}

/// A limit at one size of file after the other, so that each write is the one that fails; then the
/// command without it ends with the same files.
fn survive_limits(command: &Disturbed, limits: &[usize]) -> usize {
    let folder = folder(command);
    let folder = folder.path();
    command.finish(folder);
    let whole = tree(folder, command.leaves);
    command.clear(folder);
    let mut refused = 0;
    for &blocks in limits {
        let what = format!("{} with {blocks} blocks", command.name);
        if let Some(said) = with_limit(command, folder, blocks) {
            refused += 1;
            assert!(!said.contains("panicked"), "{what}: {said}");
            assert!(
                said.contains("too large") || said.contains("cannot be written"),
                "{what}: {said}"
            );
        }
        assert_no_halves(&tree(folder, command.leaves), &whole, &what);
    }
    command.finish(folder);
    let what = format!("{} after a full disk", command.name);
    assert_same(&tree(folder, command.leaves), &whole, &what);
    println!("{}: {refused} full disks", command.name);
    refused
}

#[test]
fn where_files_may_not_grow_nothing_is_lost_and_the_file_is_named() {
    for command in COMMANDS {
        // Plans and tunings are many trainings: one limit in the middle is enough of them here.
        let limits: &[usize] = match command.name {
            "train" => &[0, 1, 2, 4, 16, 256, 2000, 3600],
            "run" | "sweep" | "tune" => &[16],
            _ => &[0, 2, 40],
        };
        assert!(survive_limits(command, limits) > 0, "{}", command.name);
    }
}

/// A file system in memory, of that size, for as long as this lives.
struct Small(tempfile::TempDir);

impl Small {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "mount needs root"
        );
        Small(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root, to mount a small file system"]
fn on_a_full_disk_nothing_is_lost_and_it_is_said() {
    let command = command("train");
    let elsewhere = folder(command);
    command.finish(elsewhere.path());
    let whole = tree(elsewhere.path(), command.leaves);
    let mut refused = 0;
    for kilobytes in [64, 256, 1024, 3072, 5120] {
        let disk = Small::new(&format!("size={kilobytes}k"));
        let run = disk.0.path().join("run");
        let words = |resume: bool| {
            let mut words: Vec<String> = (command.arguments.split_whitespace())
                .map(|word| word.replace("run", &run.display().to_string()))
                .collect();
            words[0] = "train".to_owned();
            words.extend(resume.then(|| "--resume".to_owned()));
            words
        };
        let output = dbloss(elsewhere.path())
            .args(words(false))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            continue;
        }
        refused += 1;
        assert!(said.contains("the disk is full"), "{kilobytes}: {said}");
        let resize = "remount,size=64m";
        let grown = Command::new("mount")
            .args(["-o", resize])
            .arg(disk.0.path())
            .status();
        assert!(grown.unwrap().success());
        let resume = run.join("manifest.json").is_file();
        dbloss(elsewhere.path())
            .args(words(resume))
            .assert()
            .success();
        let found = tree(disk.0.path(), &["run"]);
        // The folder of the split stands in the configuration.
        let strip = |tree: crate::common::tree::Tree| -> crate::common::tree::Tree {
            (tree.into_iter())
                .filter(|(name, _)| !name.ends_with("config.toml"))
                .collect()
        };
        assert_same(
            &strip(found),
            &strip(whole.clone()),
            &format!("{kilobytes} kB"),
        );
    }
    assert!(refused > 2, "{refused}");
}

/// True where this process may write into a folder that says it may not be: root.
fn may_write_anyway(folder: &Path) -> bool {
    let file = folder.join("may-i");
    let may = std::fs::write(&file, "x").is_ok();
    let _ = std::fs::remove_file(file);
    may
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_by_name() {
    for command in COMMANDS {
        let folder = folder(command);
        let target = folder.path().join(command.leaves[0]);
        // What is to be written lies in a folder that is closed, or, for root, is no folder.
        let parent = target.parent().unwrap();
        std::fs::set_permissions(parent, Permissions::from_mode(0o555)).unwrap();
        let closed = !may_write_anyway(parent);
        if !closed && target.extension().is_some() {
            // A file in the place of a link is no refusal.
            std::fs::set_permissions(parent, Permissions::from_mode(0o755)).unwrap();
            continue;
        }
        if !closed {
            let _ = std::fs::remove_dir_all(&target);
            std::os::unix::fs::symlink("/proc/nowhere", &target).unwrap();
        }
        let output = dbloss(folder.path())
            .args(command.words(folder.path()))
            .output();
        let output = output.unwrap();
        std::fs::set_permissions(parent, Permissions::from_mode(0o755)).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{}", command.name);
        assert!(output.status.code().is_some(), "{}: {said}", command.name);
        assert!(!said.contains("panicked"), "{}: {said}", command.name);
        let named = said.contains(command.leaves[0]) || said.contains("nowhere");
        assert!(named, "{}: {said}", command.name);
    }
}

#[test]
fn a_folder_that_another_process_holds_is_refused_or_waited_for() {
    let train = command("train");
    let home = folder(train);
    let lock = RunDir::new(home.path().join("run"))
        .lock(Duration::ZERO)
        .unwrap();
    let output = dbloss(home.path())
        .args(train.words(home.path()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another process"), "{said}");
    assert!(!home.path().join("run/checkpoints").exists());
    drop(lock);
    train.finish(home.path());

    // Plans wait for the process that holds a run's folder.
    let run = command("run");
    let home = folder(run);
    let held = home.path().join("runs/small/erm-s0");
    let lock = RunDir::new(&held).lock(Duration::ZERO).unwrap();
    let mut child = run.process(home.path()).spawn().unwrap();
    assert!(wait_for(&mut child, || home
        .path()
        .join("runs/small/plan.json")
        .is_file()));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!held.join("checkpoints").exists());
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert!(held.join("checkpoints/last.safetensors").is_file());
}
