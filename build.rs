//! Embeds every file of `experiments/` in the program, so that a new file needs no further line
//! anywhere, and collects the comments of the fields of public types, from which the reference of
//! configuration keys is made.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    fields()?;
    let folder = Path::new("experiments");
    println!("cargo::rerun-if-changed=experiments");
    let mut files = Vec::new();
    collect(folder, &["toml", "csv"], &mut files)?;
    files.sort();
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let mut list = String::from("&[\n");
    for file in files {
        // Names use `/` on every system.
        let parts = file.components().skip(1);
        let parts: Vec<_> = (parts.map(|part| part.as_os_str().to_string_lossy())).collect();
        let path = Path::new(&root).join(&file);
        let line = format!("    ({:?}, include_str!({path:?})),", parts.join("/"));
        writeln!(list, "{line}").map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("experiments.rs"), list)?;
    tell_of_compiler();
    match env::var_os("CARGO_FEATURE_CUDA") {
        Some(_) => compile_kernels(&Path::new(&out).join("kernels.ptx")),
        None => Ok(()),
    }
}

/// Reports whether there is a C++ compiler, which the tests of the GPU kernels need.
fn tell_of_compiler() {
    println!("cargo::rerun-if-env-changed=CXX");
    println!("cargo::rustc-check-cfg=cfg(has_cxx)");
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let told = Command::new(compiler).arg("--version").output();
    if told.is_ok_and(|told| told.status.success()) {
        println!("cargo::rustc-cfg=has_cxx");
    }
}

/// Compiles the GPU kernels to the intermediate code (PTX) of the oldest supported card, which the
/// driver translates for the actual card.
fn compile_kernels(output: &Path) -> io::Result<()> {
    let folder = Path::new("src/ops/cuda/kernels");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let compiler = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_owned());
    let card = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    let status = Command::new(&compiler)
        .args([
            "--ptx",
            "-O3",
            "-std=c++17",
            &format!("-arch=compute_{card}"),
        ])
        .arg(folder.join("kernels.cu"))
        .arg("-o")
        .arg(output)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!(
            "`{compiler}` ended with {status}"
        ))),
        Err(e) => Err(io::Error::other(format!(
            "`{compiler}` cannot be started ({e}): see docs/gpu.md"
        ))),
    }
}

/// Collects the files under `folder` with one of the extensions `endings`.
fn collect(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            _ if path.is_dir() => collect(&path, endings, files)?,
            Some(ending) if endings.contains(&ending) => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Writes `fields.rs`: for every public type that is read from TOML, the file, type, variant,
/// field, field type and comment.
fn fields() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    let mut files = Vec::new();
    collect(Path::new("src"), &["rs"], &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.to_string_lossy().replace('\\', "/");
        for [of, variant, field, kind, comment] in Fields::read(&fs::read_to_string(&file)?) {
            let line = format!(
                "    Field {{ file: {name:?}, of: {of:?}, variant: {variant:?}, name: {field:?}, \
                 kind: {kind:?}, comment: {comment:?} }},"
            );
            writeln!(list, "{line}").map_err(io::Error::other)?;
        }
    }
    list.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("fields.rs"), list)
}

/// The state while a formatted source file is read line by line.
#[derive(Default)]
struct Fields {
    found: Vec<[String; 5]>,
    is_read: bool,
    of: String,
    variant: String,
    comment: Vec<String>,
    name: String,
}

impl Fields {
    fn read(text: &str) -> Vec<[String; 5]> {
        let mut reading = Fields::default();
        text.lines().for_each(|line| reading.line(line));
        reading.found
    }

    fn line(&mut self, line: &str) {
        let bare = line.trim();
        if let Some(words) = bare.strip_prefix("///") {
            self.comment.push(words.trim().to_owned());
        } else if bare.starts_with("#[derive") {
            self.is_read = bare.contains("Deserialize") || bare.contains("PartialEq");
        } else if bare.starts_with("#[") {
            if let Some((_, name)) = bare.split_once("rename = \"") {
                self.name = name.split('"').next().unwrap_or_default().to_owned();
            }
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            let name = bare.split([' ', '{', '(', '<']).nth(2).unwrap_or_default();
            let is_open = self.is_read && bare.ends_with('{');
            self.of = if is_open { name } else { "" }.to_owned();
            self.clear();
        } else if line == "}" {
            self.of.clear();
            self.is_read = false;
            self.clear();
        } else if !self.of.is_empty() {
            self.inside(line, bare);
        } else {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.variant.clear();
        self.comment.clear();
        self.name.clear();
    }

    /// Reads a line of the current type.
    fn inside(&mut self, line: &str, bare: &str) {
        let depth = line.len() - line.trim_start().len();
        let field = bare.trim_end_matches(',');
        if let Some((name, kind)) = field.split_once(": ") {
            let name = name.rsplit(' ').next().unwrap_or(name);
            let name = match self.name.is_empty() {
                true => name.to_owned(),
                false => std::mem::take(&mut self.name),
            };
            self.add(name, kind.to_owned());
        } else if depth == 4 && bare == "}," {
            self.variant.clear();
        } else if depth == 4 && bare.ends_with([',', '{']) {
            let name = field.trim_end_matches(" {").trim_end_matches(" {}");
            let (name, kind) = name.split_once('(').unwrap_or((name, ""));
            self.variant = name.to_owned();
            self.add(String::new(), kind.trim_end_matches(')').to_owned());
            if !bare.ends_with('{') {
                self.variant.clear();
            }
        }
        self.comment.clear();
        self.name.clear();
    }

    fn add(&mut self, name: String, kind: String) {
        let comment = self.comment.join(" ");
        let (of, variant) = (self.of.clone(), self.variant.clone());
        self.found.push([of, variant, name, kind, comment]);
    }
}
