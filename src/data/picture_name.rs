//! The rules for picture names, and for when two pictures are the same.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Component, Path, PathBuf};

use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture::has_picture_ending;
use crate::error::{Error, Result};

/// Returns a picture's name without the extension; other dots are kept.
pub(crate) fn without_ending(name: &str) -> &str {
    match (has_picture_ending(name), name.rfind('.')) {
        (true, Some(at)) => &name[..at],
        _ => name,
    }
}

/// Normalises a picture's name: trims it, uses `/` between folders (Windows writes `\`) and removes
/// `./`. The error describes what a name must not contain.
pub(crate) fn clean(name: &str) -> Result<Cow<'_, str>, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("the image name is empty".into());
    }
    if name.contains(|c: char| c.is_control()) {
        let shown = super::class_name::visible(name);
        return Err(format!(
            "the image name `{shown}` contains a control character"
        ));
    }
    if !name.contains('\\') && !name.starts_with("./") && !name.contains("/./") {
        return Ok(Cow::Borrowed(name));
    }
    let slashes = name.replace('\\', "/").replace("/./", "/");
    let mut name = slashes.as_str();
    while let Some(rest) = name.strip_prefix("./") {
        name = rest.trim_start_matches('/');
    }
    Ok(Cow::Owned(name.to_owned()))
}

/// Whether a clean name leads to a file outside of the folder that it is relative to.
pub(crate) fn leads_out(name: &str) -> bool {
    let mut depth = 0i64;
    name.starts_with('/')
        || Path::new(name).components().any(|component| {
            depth += match component {
                Component::Normal(_) => 1,
                Component::ParentDir => -1,
                Component::CurDir => 0,
                Component::Prefix(_) | Component::RootDir => -depth - 1,
            };
            depth < 0
        })
}

/// The names of a table's images, each of which may occur once.
#[derive(Default)]
pub(crate) struct SeenImages(HashMap<String, u64>);

impl SeenImages {
    /// Returns the clean name; rejects one that occurred before, naming both lines.
    pub(super) fn add(&mut self, path: &Path, line: u64, name: &str) -> Result<String> {
        let name = clean(name).map_err(|problem| {
            let error = Error::line(path, line, &problem);
            match problem.contains("control") {
                true => error.hint("look for an unclosed `\"`"),
                false => error,
            }
        })?;
        match self.0.insert(name.clone().into_owned(), line) {
            None => Ok(name.into_owned()),
            Some(first) => {
                let problem = format_args!("image `{name}` is already on line {first}");
                Err(Error::line(path, line, problem)
                    .hint("give each image one row, with all its labels"))
            }
        }
    }
}

/// Returns the identities of the pictures of a table: for files the cleaned absolute path, with
/// links resolved if the file exists; for drawn pictures the name.
pub(crate) fn identities(root: &ImageRoot, table: &LabelTable) -> Vec<PathBuf> {
    let folder_of = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut folders: HashMap<PathBuf, PathBuf> = HashMap::new();
    for image in table.images() {
        if let Some(file) = root.file(image) {
            let folder = folder_of(&file);
            // Resolved once per folder, not once per picture.
            if let Entry::Vacant(entry) = folders.entry(folder) {
                let resolved = resolve(entry.key());
                entry.insert(resolved);
            }
        }
    }
    // Not in parallel: a split is read before the number of threads is set, and this would start
    // the thread pool.
    let images = table.images().iter();
    let identity = images.map(|image| {
        let Some(file) = root.file(image) else {
            return PathBuf::from(image);
        };
        let is_link = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_symlink());
        match (folders.get(&folder_of(&file)), file.file_name()) {
            (Some(folder), Some(name)) if !is_link(&file) => folder.join(name),
            _ => resolve(&file),
        }
    });
    identity.collect()
}

/// Returns an absolute path, with links resolved as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    if let Ok(path) = fs_err::canonicalize(path) {
        return path;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    lexically_clean(&absolute)
}

/// Returns an absolute path without `.` and `..`.
pub(crate) fn lexically_clean(path: &Path) -> PathBuf {
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

/// The pictures of a folder, by their names without extensions.
#[derive(Default)]
pub(crate) struct Pictures(HashMap<String, Vec<String>>);

impl Pictures {
    /// Lists the pictures in `folder`; there are none if it does not exist.
    pub(super) fn of(folder: &Path) -> Self {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
            if let Some(name) = entry
                .file_name()
                .to_str()
                .filter(|name| has_picture_ending(name))
            {
                let stem = without_ending(name).to_owned();
                found.entry(stem).or_default().push(name.to_owned());
            }
        }
        found.values_mut().for_each(|names| names.sort_unstable());
        Pictures(found)
    }

    /// Returns the file of the picture `id`: the only one; of several, the one named by the
    /// annotation, or else `<id>.jpg`. If there is none, `<id>.jpg` too, since labels may exist
    /// before the pictures.
    ///
    /// # Errors
    /// Returns the names of several candidates if none is preferred.
    pub(super) fn file(&self, id: &str, named: Option<&str>) -> Result<String, Vec<String>> {
        let usual = format!("{id}.jpg");
        match self.0.get(id).map(Vec::as_slice) {
            None | Some([]) => Ok(usual),
            Some([only]) => Ok(only.clone()),
            Some(several) => {
                let holds = |name: &str| several.iter().any(|n| n == name);
                match named.filter(|name| holds(name)) {
                    Some(name) => Ok(name.to_owned()),
                    None if holds(&usual) => Ok(usual),
                    None => Err(several.to_vec()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn one_picture_has_one_name() {
        for raw in [
            "a/b.jpg",
            "./a/b.jpg",
            " a\\b.jpg ",
            "././a/./b.jpg",
            ".\\a\\b.jpg",
        ] {
            assert_eq!(clean(raw).unwrap(), "a/b.jpg", "{raw}");
        }
        for (name, out) in [
            ("a.jpg", false),
            ("a/../b.jpg", false),
            ("a..b/c.jpg", false),
            ("../a.jpg", true),
            ("a/../../b.jpg", true),
            ("/a.jpg", true),
        ] {
            assert_eq!(leads_out(name), out, "{name}");
        }
        assert_eq!(clean("../a.jpg").unwrap(), "../a.jpg");
        assert_eq!(clean("/a.jpg").unwrap(), "/a.jpg");
        assert!(clean("a\nb.jpg").is_err() && clean("").is_err());
        assert_eq!(without_ending("v1.2/photo.v3"), "v1.2/photo.v3");
        assert_eq!(without_ending("photo.v3.JPG"), "photo.v3");
    }

    #[cfg(unix)]
    #[test]
    fn spellings_and_links_of_one_file_are_one_picture() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        write_text(&data.join("a.jpg"), "x").unwrap();
        std::os::unix::fs::symlink(&data, folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(data.join("a.jpg"), data.join("b.jpg")).unwrap();
        let absolute = data.join("a.jpg").display().to_string();
        let mut table = LabelTable::new(vec![]);
        for image in [
            "data/a.jpg",
            "data/../data/a.jpg",
            "link/a.jpg",
            "data//a.jpg",
            "data/b.jpg",
            &absolute,
        ] {
            table.push(image, []);
        }
        let root = |path: &Path| ImageRoot::Folder {
            path: path.to_path_buf(),
        };
        let found = identities(&root(folder.path()), &table);
        assert!(found.iter().all(|path| *path == found[0]), "{found:?}");
        // A file that does not exist is compared by its path.
        let mut table = LabelTable::new(vec![]);
        for image in ["x/a.jpg", "x/y/../a.jpg", "x/b.jpg"] {
            table.push(image, []);
        }
        let found = identities(&root(folder.path()), &table);
        assert_eq!(found[0], found[1]);
        assert_ne!(found[0], found[2]);
    }
}
