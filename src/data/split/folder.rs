//! Writing, reading and checking a split folder.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::data::class_name;
use crate::data::delimited::Delimited;
use crate::data::formats::table;
use crate::data::image::ToldPictures;
use crate::data::labels::LabelTable;
use crate::data::picture_name::{identities, lexically_clean};
use crate::error::{Error, Result};
use crate::io::{claim_folder, write_atomic, write_text};
use crate::layers::Tree;
use crate::text;
use crate::wording::{counted, first_named, is_or_are};

use super::{ImageRoot, ImageRoots, Manifest, Set, Split};

/// The file of a split folder that describes it.
const MANIFEST: &str = "split.toml";

/// The contents of the CSV files of a split folder, in the order in which they are hashed.
pub(super) struct Files(Vec<(&'static str, Vec<u8>)>);

impl Files {
    pub(super) fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in &self.0 {
            hasher.update(name.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Reads the files of a folder; `validation.csv` may be missing.
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
            // The readers produce clean names, but a table built in another way may not have them.
            if let Some(problem) = class_name::clean(name).err() {
                return Err(Error::input(format_args!("class {c}"), problem));
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

    /// Writes the split folder: `train.csv`, `test.csv`, `validation.csv` if there is a validation
    /// set, `classes.csv` and `split.toml`. A folder that is not empty is rejected unless `force`
    /// is set.
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

    /// Returns true if `dir` contains a split.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(MANIFEST).is_file()
    }

    /// Reads and checks a split folder: the hash of its tables, images listed twice, images in more
    /// than one set, and classes without test images (only a warning).
    pub fn read(dir: &Path) -> Result<Split> {
        let path = dir.join(MANIFEST);
        if !path.is_file() {
            let problem = format!("is not a split folder: it has no `{MANIFEST}`");
            return Err(Error::file(dir, problem).hint("create one with `dbloss split`"));
        }
        let text = text::read(&path)?;
        let manifest: Manifest = Tree::parse(&path, &text)?.typed(&[])?;
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
        let groups = manifest.groups(&train.class_counts());
        let absolute = |root: &ImageRoot| match root {
            ImageRoot::Folder { path } => ImageRoot::Folder {
                path: dir.join(path),
            },
            other => other.clone(),
        };
        let split = Split {
            groups,
            thresholds,
            train_root: absolute(&manifest.images.train),
            test_root: absolute(&manifest.images.test),
            train: Arc::new(train),
            test: Arc::new(test),
            validation: validation.map(Arc::new),
            manifest,
            hash,
            told: ToldPictures::default(),
        };
        split.check_overlap(dir.display())?;
        split.warn_about_classes();
        Ok(split)
    }

    /// Rejects pictures that are in two sets, or twice in one, unless the configuration allows it.
    /// Pictures are compared by file, however their paths are spelled.
    pub(super) fn check_overlap(&self, place: impl std::fmt::Display) -> Result<()> {
        let sets = [
            (Set::Train, Some(&self.train), &self.train_root),
            (Set::Validation, self.validation.as_ref(), &self.train_root),
            (Set::Test, Some(&self.test), &self.test_root),
        ];
        let mut seen: HashMap<PathBuf, (Set, &str)> = HashMap::new();
        let mut shared: BTreeMap<(Set, Set), Vec<String>> = BTreeMap::new();
        for (set, table, root) in sets {
            let Some(table) = table else { continue };
            for (identity, image) in identities(root, table).into_iter().zip(table.images()) {
                match seen.entry(identity) {
                    Entry::Vacant(entry) => drop(entry.insert((set, image))),
                    Entry::Occupied(entry) => {
                        let (first, name) = *entry.get();
                        shared
                            .entry((first, set))
                            .or_default()
                            .push(match name == image {
                                true => image.clone(),
                                false => format!("{name}` = `{image}"),
                            });
                    }
                }
            }
        }
        for ((first, second), images) in shared {
            let names = first_named(images.iter().map(String::as_str));
            let (count, are) = (counted(images.len(), "image"), is_or_are(images.len()));
            let problem = match first == second {
                true => format!("{count} {are} twice in the {first} set: {names}"),
                false => {
                    format!("{count} {are} in the {first} set and in the {second} set: {names}")
                }
            };
            if !self.manifest.config.allow_overlap {
                return Err(Error::input(place, problem).hint(
                    "scores on them would be too good; to accept them, set `allow_overlap = true` (`--allow-overlap`)",
                ));
            }
            tracing::warn!("{problem}");
        }
        Ok(())
    }

    /// Warns about classes that cannot be learnt and classes that cannot be scored.
    pub(super) fn warn_about_classes(&self) {
        let without = |table: &LabelTable| -> Vec<&str> {
            (self.classes().iter().zip(table.class_counts()))
                .filter_map(|(name, n)| (n == 0).then_some(name.as_str()))
                .collect()
        };
        let untrained = without(&self.train);
        if !untrained.is_empty() {
            tracing::warn!(
                "{} without a training image: {}",
                counted(untrained.len(), "class"),
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
                "{} without a test image, so their average precision is undefined: {}",
                counted(unscored.len(), "class"),
                first_named(unscored)
            );
        }
    }
}

/// Reads a table of a split folder; it may be empty.
fn read_table(path: &Path, classes: &[String]) -> Result<LabelTable> {
    table::read_any(path, classes.to_vec())
}

/// Reads the class names from `classes.csv`, in file order.
fn read_classes(path: &Path) -> Result<Vec<String>> {
    let mut table = Delimited::open(fs_err::File::open(path)?, path, b',', |_| true)?;
    let Some(column) = table.column(&["class"])? else {
        return Err(Error::line(path, 1, "the header has no column `class`"));
    };
    let mut names = Vec::new();
    let mut first: HashMap<String, u64> = HashMap::new();
    while let Some(row) = table.next()? {
        let name = row.field(column).to_owned();
        if let Some(first) = first.insert(name.clone(), row.line) {
            let problem = format_args!("class `{name}` is already on line {first}");
            return Err(Error::line(path, row.line, problem));
        }
        names.push(name);
    }
    Ok(names)
}

/// Returns `root` as the manifest in `dir` stores it: see [`Manifest::images`].
fn root_from(dir: &Path, root: &ImageRoot) -> Result<ImageRoot> {
    match root {
        ImageRoot::Folder { path: folder } if folder.is_relative() => {
            let absolute = |path: &Path| match fs_err::canonicalize(path) {
                Ok(path) => Ok(path),
                // A split may be made before the pictures are there.
                Err(_) => Ok::<_, Error>(lexically_clean(&std::path::absolute(path)?)),
            };
            Ok(ImageRoot::Folder {
                path: relative(&absolute(dir)?, &absolute(folder)?),
            })
        }
        other => Ok(other.clone()),
    }
}

/// Returns the relative path from the folder `from` to `to`; both must be absolute and clean.
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
