//! Detects the kind of source at a path.

use std::path::{Path, PathBuf};

use toml::Table;

use crate::data::formats::{FORMATS, Source};
use crate::data::picture::has_picture_ending;
use crate::error::{Error, Result};

/// A source that was detected.
#[derive(Debug)]
pub struct Found {
    /// The source.
    pub source: Source,
    /// What it was detected by, one sentence each.
    pub seen: Vec<String>,
}

/// File name extensions of tables.
const TABLES: [&str; 5] = ["csv", "tsv", "tab", "jsonl", "ndjson"];

/// Names of the training part, with the possible names of the test part next to it.
const PARTS: [(&str, &[&str]); 4] = [
    ("training", &["testing", "test", "validation"]),
    ("train", &["test", "testing", "val", "valid"]),
    ("trainval", &["test"]),
    ("pool", &["test"]),
];

/// Separators of labels, in the order in which they are tried.
const SEPARATORS: [&str; 6] = ["|", "list", ";", "comma", "tab", "space"];

/// Detects the kind of source at `path`: a table, a COCO JSON file, a VOC devkit, a folder with one
/// folder of pictures per class, a folder of LabelMe files, or a folder that contains one of these.
///
/// # Errors
/// Returns an error if there is nothing at `path` or it is none of these.
pub fn detect(path: &Path) -> Result<Found> {
    if path.is_file() {
        return of_file(path);
    }
    if !path.is_dir() {
        return Err(Error::file(path, "does not exist")
            .hint("expected a table of labels, an annotation file, or a folder of pictures"));
    }
    let inside = Inside::read(path)?;
    for recognise in [
        voc,
        parts,
        coco_inside,
        table_inside,
        label_me,
        class_folders,
    ] {
        if let Some(found) = recognise(path, &inside)? {
            return Ok(found);
        }
    }
    let kinds = (FORMATS.iter()).flat_map(|info| info.sources.iter().map(|source| source.flag));
    let kinds: Vec<String> = kinds.map(|flag| format!("`--{flag}`")).collect();
    Err(
        Error::file(path, "is not a recognised kind of source").hint(format_args!(
            "say what it is with {}; or write a table with the columns `image` and `labels`",
            kinds.join(", ")
        )),
    )
}

/// The contents of a folder, sorted.
struct Inside {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Inside {
    fn read(folder: &Path) -> Result<Self> {
        let entries = fs_err::read_dir(folder)?;
        let mut paths = (entries.map(|entry| entry.map(|entry| entry.path())))
            .collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| !name(path).starts_with('.'));
        paths.sort();
        let (folders, files) = paths.into_iter().partition(|path| path.is_dir());
        Ok(Inside { files, folders })
    }

    fn folder(&self, wanted: &str) -> Option<&Path> {
        let mut named = self
            .folders
            .iter()
            .filter(|path| name(path).eq_ignore_ascii_case(wanted));
        named.next().map(PathBuf::as_path)
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    ending.to_ascii_lowercase()
}

/// Builds a source of the given kind from its keys.
fn source(kind: &str, keys: &[(&str, toml::Value)]) -> Result<Source> {
    let mut table = Table::from_iter([("kind".to_owned(), kind.into())]);
    for (key, value) in keys {
        table.insert((*key).to_owned(), value.clone());
    }
    let read = toml::Value::Table(table).try_into();
    read.map_err(|e: toml::de::Error| Error::input("the source", e.message()))
}

fn text(path: &Path) -> toml::Value {
    path.to_string_lossy().into_owned().into()
}

/// Returns the test part that belongs to a training part: `test.csv` next to `train.csv`.
fn other_part(path: &Path) -> Option<PathBuf> {
    let (stem, ending) = match path.is_dir() {
        true => (name(path), String::new()),
        false => (
            stem(path),
            format!(".{}", path.extension()?.to_string_lossy()),
        ),
    };
    let lower = stem.to_lowercase();
    // Only if the length is unchanged, so that positions agree.
    let lower = if lower.len() == stem.len() {
        lower
    } else {
        stem.clone()
    };
    for (training, others) in PARTS {
        let Some(at) = lower.find(training) else {
            continue;
        };
        for other in others {
            let name = format!(
                "{}{other}{}{ending}",
                &stem[..at],
                &stem[at + training.len()..]
            );
            let path = path.with_file_name(name);
            if path.exists() {
                return Some(path);
            }
        }
    }
    None
}

fn of_file(path: &Path) -> Result<Found> {
    match ending(path).as_str() {
        "json" => coco(path),
        ending if TABLES.contains(&ending) => table(path),
        _ => {
            let ending = ending(path);
            Err(Error::file(
                path,
                format_args!("`.{ending}` is not the ending of a table or a COCO file"),
            )
            .hint("name its kind with an option, see `dbloss init --help`"))
        }
    }
}

/// Reads a table, with the separator that works for it.
fn table(path: &Path) -> Result<Found> {
    let mut seen = vec![format!("{} is a table", path.display())];
    let mut keys = vec![("train", text(path))];
    if let Some(test) = other_part(path) {
        seen.push(format!(
            "{} beside it is used as its test set",
            test.display()
        ));
        keys.push(("test", text(&test)));
    }
    if let Some(column) = split_column(path)? {
        tracing::warn!(
            "{}: the column `{column}` is ignored, since a table is one set; put the rows of the \
             test set into a table of their own and name it with `--test`",
            path.display()
        );
    }
    let usual = source("table", &keys)?;
    let Err(first) = usual.load() else {
        return Ok(Found {
            source: usual,
            seen,
        });
    };
    for separator in &SEPARATORS[1..] {
        let mut keys = keys.clone();
        keys.push(("separator", (*separator).into()));
        let other = source("table", &keys)?;
        if other.load().is_ok() {
            seen.push(format!("labels are separated by: {separator}"));
            return Ok(Found {
                source: other,
                seen,
            });
        }
    }
    Err(first)
}

/// Returns the column of a table that seems to assign pictures to sets.
fn split_column(path: &Path) -> Result<Option<String>> {
    if !["csv", "tsv", "tab"].contains(&ending(path).as_str()) {
        return Ok(None);
    }
    let whole = crate::text::read(path)?;
    let header = whole.lines().next().unwrap_or_default();
    let columns = header
        .split([',', ';', '\t'])
        .map(|cell| cell.trim().trim_matches('"'));
    let known = ["split", "set", "subset", "fold", "partition", "is_test"];
    let mut found = columns.filter(|column| known.contains(&column.to_lowercase().as_str()));
    Ok(found.next().map(str::to_owned))
}

/// Reads a COCO file and finds the folder with its pictures.
fn coco(path: &Path) -> Result<Found> {
    let mut seen = vec![format!("{} is read as COCO instances", path.display())];
    let mut keys = vec![("train", text(path))];
    if let Some(root) = pictures_of(path)? {
        seen.push(format!("its pictures are in {}", root.display()));
        keys.push(("root", text(&root)));
    }
    if let Some(test) = other_part(path) {
        seen.push(format!(
            "{} beside it is used as its test set",
            test.display()
        ));
        keys.push(("test", text(&test)));
        if let Some(root) = pictures_of(&test)? {
            keys.push(("test_root", text(&root)));
        }
    }
    Ok(Found {
        source: source("coco", &keys)?,
        seen,
    })
}

/// Returns the folder with the first picture of a COCO file; `None` if the picture is next to the
/// file or is not found.
fn pictures_of(path: &Path) -> Result<Option<PathBuf>> {
    let source = source("coco", &[("train", text(path))])?;
    let loaded = source.load()?;
    let Some(first) = loaded.pool.images().first() else {
        return Ok(None);
    };
    let here = path.parent().unwrap_or(Path::new(""));
    if here.join(first).is_file() {
        return Ok(None);
    }
    let set = stem(path);
    let set = set.rsplit('_').next().unwrap_or_default();
    for above in [here.to_owned(), here.join("..")] {
        for folder in [set, "images", "pictures", ".", "train", "val", "test"] {
            let root = above.join(folder);
            if root.join(first).is_file() {
                return Ok(Some(root));
            }
        }
    }
    Ok(None)
}

/// Detects a folder with COCO annotations in it.
fn coco_inside(_: &Path, inside: &Inside) -> Result<Option<Found>> {
    let annotations = match inside.folder("annotations") {
        Some(folder) => Inside::read(folder)?.files,
        None => inside.files.clone(),
    };
    let is_one = |path: &&PathBuf| {
        let name = name(path).to_lowercase();
        ending(path) == "json" && (name.contains("instances") || name.contains("coco"))
    };
    let mut files: Vec<&PathBuf> = annotations.iter().filter(is_one).collect();
    files.sort_by_key(|path| !name(path).contains("train"));
    match files.first() {
        Some(path) => coco(path).map(Some),
        None => Ok(None),
    }
}

/// Detects a VOC devkit: its newest year, with VOC2007's test list as the test set if it exists.
fn voc(folder: &Path, inside: &Inside) -> Result<Option<Found>> {
    let years = inside.folders.iter().filter_map(|path| {
        let year = name(path).strip_prefix("VOC")?.parse::<i64>().ok()?;
        path.join("ImageSets/Main").is_dir().then_some(year)
    });
    let mut years: Vec<i64> = years.collect();
    years.sort_unstable();
    let Some(&year) = years.last() else {
        return Ok(None);
    };
    let list = |year: i64, list: &str| {
        let lists = folder.join(format!("VOC{year}")).join("ImageSets/Main");
        lists.join(format!("{list}.txt")).is_file()
    };
    let mut seen = vec![format!(
        "{} is a VOC devkit with {years:?}",
        folder.display()
    )];
    let mut keys = vec![("root", text(folder)), ("year", year.into())];
    let pool = ["trainval", "pool", "train"];
    if let Some(pool) = pool.into_iter().find(|name| list(year, name)) {
        seen.push(format!(
            "the pictures of the list `{pool}` of {year} are taken"
        ));
        keys.push(("train", pool.into()));
    }
    let tested = years.iter().rev().find(|&&year| list(year, "test"));
    if let Some(&other) = tested {
        seen.push(format!("the list `test` of {other} is the test set"));
        keys.push(("test", "test".into()));
        keys.push(("test_year", other.into()));
    }
    Ok(Some(Found {
        source: source("voc", &keys)?,
        seen,
    }))
}

/// Detects `train` and `test` folders with class folders in them.
fn parts(_: &Path, inside: &Inside) -> Result<Option<Found>> {
    let training = PARTS.iter().find_map(|(name, _)| inside.folder(name));
    let Some(training) = training.filter(|path| has_class_folders(path)) else {
        return Ok(None);
    };
    let mut seen = vec![format!(
        "{} has a folder of pictures a class",
        training.display()
    )];
    let mut keys = vec![("train", text(training))];
    if let Some(test) = other_part(training).filter(|path| has_class_folders(path)) {
        seen.push(format!("{} is the test set", test.display()));
        keys.push(("test", text(&test)));
    }
    Ok(Some(Found {
        source: source("folder", &keys)?,
        seen,
    }))
}

fn class_folders(folder: &Path, _: &Inside) -> Result<Option<Found>> {
    if !has_class_folders(folder) {
        return Ok(None);
    }
    Ok(Some(Found {
        source: source("folder", &[("train", text(folder))])?,
        seen: vec![format!(
            "{} has a folder of pictures a class",
            folder.display()
        )],
    }))
}

/// Returns whether at least two folders in `folder` contain pictures.
fn has_class_folders(folder: &Path) -> bool {
    let Ok(inside) = Inside::read(folder) else {
        return false;
    };
    let holds = |folder: &&PathBuf| {
        let inside = Inside::read(folder);
        inside.is_ok_and(|inside| {
            inside
                .files
                .iter()
                .any(|file| has_picture_ending(&name(file)))
        })
    };
    inside.folders.iter().filter(holds).count() >= 2
}

/// Detects a folder with a single table in it, or with one whose name marks it as the training
/// part.
fn table_inside(_: &Path, inside: &Inside) -> Result<Option<Found>> {
    let is_table = |path: &&PathBuf| TABLES.contains(&ending(path).as_str());
    let mut tables: Vec<&PathBuf> = inside.files.iter().filter(is_table).collect();
    let named = |path: &&PathBuf| {
        let name = stem(path).to_lowercase();
        PARTS.iter().any(|(part, _)| name.contains(part)) || name.contains("labels")
    };
    if tables.len() > 1 {
        tables.retain(named);
    }
    match tables[..] {
        [one] => table(one).map(Some),
        _ => Ok(None),
    }
}

/// Detects a folder of LabelMe JSON files.
fn label_me(folder: &Path, inside: &Inside) -> Result<Option<Found>> {
    let first = inside.files.iter().find(|path| ending(path) == "json");
    let Some(first) = first else {
        return Ok(None);
    };
    let is_one = crate::text::read(first)?.contains("\"shapes\"");
    if !is_one {
        return Ok(None);
    }
    Ok(Some(Found {
        source: source("labelme", &[("train", text(folder))])?,
        seen: vec![format!("{} holds LabelMe files", folder.display())],
    }))
}
