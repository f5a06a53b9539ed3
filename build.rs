//! Puts every file of `experiments/` into the program: one that is added there is embedded without
//! a further line anywhere.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new("experiments");
    println!("cargo::rerun-if-changed=experiments");
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let mut list = String::from("&[\n");
    for file in files {
        // Names are written with `/` on every system.
        let parts = file.components().skip(1);
        let parts: Vec<_> = (parts.map(|part| part.as_os_str().to_string_lossy())).collect();
        let path = Path::new(&root).join(&file);
        let line = format!("    ({:?}, include_str!({path:?})),", parts.join("/"));
        writeln!(list, "{line}").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("experiments.rs"), list)
}

/// The experiments under `folder` and the tables beside them.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            _ if path.is_dir() => collect(&path, files)?,
            Some("toml" | "csv") => files.push(path),
            _ => {}
        }
    }
    Ok(())
}
