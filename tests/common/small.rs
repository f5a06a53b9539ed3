//! Runs the program with a network and a data set small enough for a test, with all the features of
//! large ones.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Two methods on the embedded pictures.
pub(crate) const EXPERIMENT: &str = r#"
name = "small"

[split.source]
kind = "shapes"
pool_size = 400
test_size = 40
side = 32

[split.distribution]
kind = "pareto"
max = 60
min = 1

[model]
backbone = "mobilenet_v2"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }

[input]
size = 32

[train]
batch_size = 8
epochs = 2
checkpoint_steps = 3

[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform", epoch_length = 100 }

[methods.db-focal]
loss = { name = "db-focal" }
sampler = { kind = "class-aware", epoch_length = 100 }
"#;

/// One epoch of a tiny network on pictures that the test provides.
pub(crate) const OWN: &str = r#"
name = "own"
[model]
backbone = "resnet10_w16"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }
[input]
size = 32
[train]
batch_size = 4
epochs = 1
[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform", epoch_length = 24 }
"#;

/// Creates a folder with the experiment as `small.toml`.
pub(crate) fn folder() -> tempfile::TempDir {
    folder_with(EXPERIMENT)
}

/// Creates a folder with another experiment as `small.toml`.
pub(crate) fn folder_with(experiment: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.toml"), experiment).unwrap();
    folder
}

/// Returns the program, to be run in a folder.
pub(crate) fn dbloss(folder: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("dbloss").unwrap();
    command.current_dir(folder).env_remove("DBLOSS_LOG");
    command
}

/// Runs a command that succeeds and returns its stdout and stderr.
pub(crate) fn ok(folder: &Path, arguments: &str) -> (String, String) {
    let output = dbloss(folder).args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

/// Runs a command that is refused and returns the error.
pub(crate) fn refused(folder: &Path, arguments: &str) -> String {
    let output = dbloss(folder).args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
    said
}

/// Returns the text of a file that must exist.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the path of the program under test.
pub(crate) fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin("dbloss")
}

/// Starts the program in the background, without output.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(program())
        .current_dir(folder)
        .env_remove("DBLOSS_LOG")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until `there` holds while `child` runs; returns false if the child ended first.
pub(crate) fn wait_for(child: &mut Child, there: impl Fn() -> bool) -> bool {
    loop {
        if there() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return there();
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sends a signal by its name, for example `TERM`.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(status.unwrap().success());
}
