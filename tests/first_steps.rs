//! Runs the README's steps from nothing to labels of the user's own pictures, as written there.

mod common;

use std::path::Path;
use std::process::Command;

use common::small::{program, read};
use dbloss::data::shapes;

/// Returns the commands under the README's heading, without their comments.
fn commands() -> Vec<String> {
    let readme = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let section = readme.split("## From nothing to labels").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    let lines = block.split("```").next().unwrap().lines();
    let bare = lines.map(|line| line.split(" #").next().unwrap().trim().to_owned());
    bare.filter(|line| !line.is_empty()).collect()
}

fn draw(folder: &Path, names: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    for name in names {
        let picture = shapes::draw(0, &format!("pool/{name}"), 40).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(path, picture.to_png().unwrap()).unwrap();
    }
}

#[test]
fn the_readme_leads_from_pictures_to_labels() {
    let commands = commands();
    assert!(commands.len() < 10, "{commands:?}");
    assert!(commands[0].starts_with("cargo install"), "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (class, first) in [("ant", '1'), ("bee", '2'), ("cow", '3')] {
        let names: Vec<String> = (0..12).map(|i| format!("{first}{i:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        draw(&root.join("photos").join(class), &names);
    }
    draw(&root.join("new"), &["000000", "000001"]);
    let folder_of_program = program().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder_of_program.display());
    for command in &commands[1..] {
        // There is no network here, and little time.
        let less = match command.split(' ').nth(1) {
            Some("init") => " --weights none",
            Some("run") => " --set train.epochs=1 --set model.backbone=mobilenet_v2",
            _ => "",
        };
        let (before, redirected) = match command.split_once(" > ") {
            Some((before, file)) => (before, format!(" > {file}")),
            None => (command.as_str(), String::new()),
        };
        let output = Command::new("sh")
            .args(["-c", &format!("{before}{less}{redirected}")])
            .current_dir(root)
            .env("PATH", &path)
            .env_remove("DBLOSS_LOG")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}: {said}");
    }
    let labels = read(&root.join("labels.csv"));
    assert_eq!(labels.lines().count(), 3, "{labels}");
    assert!(labels.contains("000001.png"), "{labels}");
    assert!(root.join("runs/mine/comparison.md").is_file());
}
