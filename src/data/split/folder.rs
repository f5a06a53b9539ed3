//! The split folder: written, read, checked.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::data::labels::LabelTable;
use crate::data::table;
use crate::error::{Error, Result};
use crate::io::{claim_folder, write_atomic, write_text};
use crate::rows;

use super::{ImageRoot, ImageRoots, Manifest, Split, first_named};

/// The file of a split folder that says what it is.
const MANIFEST: &str = "split.toml";

/// The CSV files of a split folder in memory, in the order in which they are hashed.
pub(super) struct Files(Vec<(&'static str, Vec<u8>)>);

impl Files {
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in &self.0 {
            hasher.update(name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The files of a folder; `validation.csv` may be missing.
    fn read(dir: &Path) -> Result<Files> {
        let mut files = Vec::new();
        for name in ["train.csv", "test.csv", "validation.csv", "classes.csv"] {
            let path = dir.join(name);
            if name != "validation.csv" || path.exists() {
                files.push((name, fs_err::read(path)?));
            }
        }
        Ok(Files(files))
    }
}

impl Split {
    pub(super) fn files(&self) -> Result<Files> {
        let mut files = Vec::new();
        let tables = [
            ("train.csv", Some(&self.train)),
            ("test.csv", Some(&self.test)),
            ("validation.csv", self.validation.as_ref()),
        ];
        for (name, labels) in tables {
            if let Some(labels) = labels {
                let mut bytes = Vec::new();
                table::write_csv(labels, &mut bytes)?;
                files.push((name, bytes));
            }
        }
        let mut csv = csv::Writer::from_writer(Vec::new());
        let failed = |e: csv::Error| std::io::Error::other(e);
        csv.write_record(["class", "train", "test", "group"])
            .map_err(failed)?;
        let (train, test) = (self.train.class_counts(), self.test.class_counts());
        for (c, name) in self.classes().iter().enumerate() {
            if name.contains(table::LABEL_SEPARATOR) || name.trim() != name || name.is_empty() {
                let problem = "the name is empty, begins or ends with a space, or holds `|`, which separates labels";
                return Err(Error::input(format_args!("class `{name}`"), problem));
            }
            csv.write_record([
                name,
                &train[c].to_string(),
                &test[c].to_string(),
                &self.groups[c].to_string(),
            ])
            .map_err(failed)?;
        }
        let bytes = csv
            .into_inner()
            .map_err(|e| std::io::Error::other(e.to_string()))?;
        files.push(("classes.csv", bytes));
        Ok(Files(files))
    }

    /// Writes the split folder: `train.csv`, `test.csv`, `validation.csv` if there is one,
    /// `classes.csv` and `split.toml`. A folder with something in it is refused without `force`.
    pub fn write(&self, dir: &Path, force: bool) -> Result<()> {
        claim_folder(dir, force)?;
        let files = self.files()?;
        if self.validation.is_none() && dir.join("validation.csv").exists() {
            fs_err::remove_file(dir.join("validation.csv"))?;
        }
        for (name, bytes) in &files.0 {
            write_atomic(&dir.join(name), |writer| Ok(writer.write_all(bytes)?))?;
        }
        let mut manifest = self.manifest.clone();
        manifest.hash = files.hash();
        manifest.images = ImageRoots {
            train: root_from(dir, &self.train_root)?,
            test: root_from(dir, &self.test_root)?,
        };
        let path = dir.join(MANIFEST);
        let text = toml::to_string(&manifest)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        let header = "# Written by `dbloss split`. The CSV files beside it are checked against the hash.\n\n";
        write_text(&path, &format!("{header}{text}"))
    }

    /// True if a split lies in `dir`.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(MANIFEST).is_file()
    }

    /// Reads a split folder and checks it: the hash of its tables, images named twice, images in
    /// two of its sets, classes without test images (a warning).
    pub fn read(dir: &Path) -> Result<Split> {
        let path = dir.join(MANIFEST);
        if !path.is_file() {
            let problem = format!("is not a split folder: it has no `{MANIFEST}`");
            return Err(Error::file(dir, problem).hint("make one with `dbloss split`"));
        }
        let text = table::read_utf8(&path)?;
        let manifest: Manifest = super::config::parse_toml(&path, &text)?;
        if manifest.format != 1 {
            let problem = format_args!("format {}, expected 1", manifest.format);
            return Err(Error::file(&path, problem).hint("it was written by a newer dbloss"));
        }
        let hash = Files::read(dir)?.hash();
        let classes = read_classes(&dir.join("classes.csv"))?;
        let read = |name: &str| read_table(&dir.join(name), &classes);
        let train = read("train.csv")?;
        let test = read("test.csv")?;
        let validation = match dir.join("validation.csv").exists() {
            true => Some(read("validation.csv")?),
            false => None,
        };
        if hash != manifest.hash {
            return Err(Error::file(
                dir,
                "the tables are not those that `split.toml` was written with (the hash differs)",
            )
            .hint("build the split again, or make a new one from the changed table: `dbloss split --table train.csv --test test.csv --distribution as-is`"));
        }
        let thresholds = manifest.config.groups;
        let counts = train.class_counts();
        let absolute = |root: &ImageRoot| match root {
            ImageRoot::Folder { path } => ImageRoot::Folder {
                path: dir.join(path),
            },
            other => other.clone(),
        };
        let split = Split {
            groups: counts.iter().map(|&n| thresholds.group(n)).collect(),
            thresholds,
            train_root: absolute(&manifest.images.train),
            test_root: absolute(&manifest.images.test),
            train: Arc::new(train),
            test: Arc::new(test),
            validation: validation.map(Arc::new),
            manifest,
            hash,
        };
        split.check_overlap(dir.display())?;
        split.warn_about_classes();
        Ok(split)
    }

    /// Refuses images that are in two sets, unless the configuration allows it.
    pub(super) fn check_overlap(&self, place: impl std::fmt::Display) -> Result<()> {
        let train: HashSet<&str> = self.train.images().iter().map(String::as_str).collect();
        let shared = |other: &LabelTable| -> Vec<String> {
            let both = other.images().iter().filter(|i| train.contains(i.as_str()));
            both.cloned().collect()
        };
        let mut found = Vec::new();
        // The same name under two roots is two pictures.
        if self.train_root == self.test_root {
            found.push(("test", shared(&self.test)));
        }
        if let Some(validation) = &self.validation {
            found.push(("validation", shared(validation)));
        }
        for (set, images) in found {
            if images.is_empty() {
                continue;
            }
            let names = first_named(images.iter().map(String::as_str));
            let problem = format!(
                "{} images are in the training set and in the {set} set: {names}",
                images.len()
            );
            if !self.manifest.config.allow_overlap {
                return Err(Error::input(place, problem).hint(
                    "scores on them would be too good; `allow_overlap = true` (`--allow-overlap`) accepts them",
                ));
            }
            tracing::warn!("{problem}");
        }
        Ok(())
    }

    /// Tells about classes that cannot be learnt or not be scored.
    pub(super) fn warn_about_classes(&self) {
        let without = |table: &LabelTable| -> Vec<&str> {
            (self.classes().iter().zip(table.class_counts()))
                .filter_map(|(name, n)| (n == 0).then_some(name.as_str()))
                .collect()
        };
        let untrained = without(&self.train);
        if !untrained.is_empty() {
            tracing::warn!(
                "{} classes have no training image: {}",
                untrained.len(),
                first_named(untrained)
            );
        }
        if self.test.is_empty() {
            tracing::warn!("the split has no test set");
            return;
        }
        let unscored = without(&self.test);
        if !unscored.is_empty() {
            tracing::warn!(
                "{} classes have no test image, their average precision is undefined: {}",
                unscored.len(),
                first_named(unscored)
            );
        }
    }
}

/// Reads a table of a split folder, which may be empty.
fn read_table(path: &Path, classes: &[String]) -> Result<LabelTable> {
    table::read_any(path, classes.to_vec())
}

/// The class names of `classes.csv`, in its order.
fn read_classes(path: &Path) -> Result<Vec<String>> {
    let bytes = fs_err::read(path)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let header = reader.headers().map_err(|e| rows::failed(path, e))?;
    let Some(column) = header.iter().position(|h| h == "class") else {
        return Err(Error::line(path, 1, "the header has no column `class`"));
    };
    let mut names = Vec::new();
    let mut first: HashMap<String, u64> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| rows::failed(path, e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(column).unwrap_or("").to_owned();
        if let Some(first) = first.insert(name.clone(), line) {
            let problem = format_args!("class `{name}` is already on line {first}");
            return Err(Error::line(path, line, problem));
        }
        names.push(name);
    }
    Ok(names)
}

/// How the manifest in `dir` names `root`: see [`Manifest::images`].
fn root_from(dir: &Path, root: &ImageRoot) -> Result<ImageRoot> {
    match root {
        ImageRoot::Folder { path: folder } if folder.is_relative() => {
            let absolute = |path: &Path| match fs_err::canonicalize(path) {
                Ok(path) => Ok(path),
                // Labels may be split before the pictures are there.
                Err(_) => Ok::<_, Error>(clean(&std::path::absolute(path)?)),
            };
            Ok(ImageRoot::Folder {
                path: relative(&absolute(dir)?, &absolute(folder)?),
            })
        }
        other => Ok(other.clone()),
    }
}

/// An absolute path without `.` and `..`.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
    }
    cleaned
}

/// The way from the folder `from` to `to`, both absolute and clean.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = (from.components().zip(to.components()))
        .take_while(|(a, b)| a == b)
        .count();
    if shared == 0 {
        return to.to_path_buf();
    }
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    match way.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => way,
    }
}
