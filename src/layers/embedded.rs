//! The files of `experiments/`, embedded in the program: a name stands for them where no such file
//! exists.
//!
//! An embedded file has a path of its own, `dbloss:/voc-mlt/db-focal.toml`, so that `extends` and
//! errors work as with files. Its paths of data are relative to the folder `experiments` of the
//! working directory, whether or not that exists: `../data/VOCdevkit` is `data/VOCdevkit` in the
//! directory where the program is started, as with the file in a clone.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result, closest};

/// The first part of the path of an embedded file.
const ROOT: &str = "dbloss:";

/// The folder of the working directory that paths in embedded files are relative to.
const FOLDER: &str = "experiments";

/// Names with extensions, sorted, and contents: `build.rs` writes the list.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/experiments.rs"));

/// Returns every embedded file: its name with the extension, relative to `experiments/`, and its
/// contents. Tables used by experiments are included.
pub fn files() -> &'static [(&'static str, &'static str)] {
    FILES
}

/// Returns the names of the embedded experiments, sorted, such as `voc-mlt/db-focal`.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES
        .iter()
        .filter_map(|(name, _)| name.strip_suffix(".toml"))
}

/// Returns the path of the embedded file with this name, which includes the extension.
pub fn path_of(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// Returns the name, with extension, of the embedded file that `path` refers to; `None` for other
/// paths.
pub fn name_of(path: &Path) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.strip_prefix(ROOT).ok()?.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            other => parts.push(other.as_os_str().to_string_lossy().into_owned()),
        }
    }
    Some(parts.join("/"))
}

/// Returns name and contents of the embedded file that `path` refers to; `None` for other paths,
/// and if there is no such file.
pub fn file(path: &Path) -> Option<(&'static str, &'static str)> {
    let name = name_of(path)?;
    FILES.iter().find(|(known, _)| *known == name).copied()
}

/// Returns the contents of the embedded file that `path` refers to, see [`file`].
pub(super) fn text_of(path: &Path) -> Option<&'static str> {
    file(path).map(|(_, text)| text)
}

/// Returns the paths of the embedded files named in quotes by the one at `path`, with this `text`:
/// the file it extends, its experiment, its tables.
pub fn mentioned(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let quoted = text.split('"').skip(1).step_by(2);
    let paths = quoted.map(|name| folder.join(name));
    paths.filter(|path| file(path).is_some()).collect()
}

/// Returns `path`, as written in a file in `folder`, relative to the working directory if that file
/// is an embedded one; `None` for other folders.
pub(super) fn from_here(folder: &Path, path: &Path) -> Option<PathBuf> {
    let below = folder.strip_prefix(ROOT).ok()?;
    Some(Path::new(FOLDER).join(below).join(path))
}

/// Returns whether there is a file at `path`, including embedded files and pipes.
pub fn is_there(path: &Path) -> bool {
    text_of(path).is_some() || (path.exists() && !path.is_dir())
}

/// Returns the file meant by `path`: the path itself if it exists, otherwise the embedded
/// experiment of this name, which is logged. The name may include the extension and the folder
/// `experiments`.
///
/// # Errors
/// Fails if neither exists.
pub fn meant(path: &Path) -> Result<PathBuf> {
    if is_there(path) {
        return Ok(path.to_owned());
    }
    let given = path.to_string_lossy().replace('\\', "/");
    let name = bare(&given);
    if let Some(name) = names().find(|known| *known == name) {
        tracing::info!("{given}: no such file; this is the embedded experiment `{name}`");
        return Ok(path_of(&format!("{name}.toml")));
    }
    let problem = match path.is_dir() {
        true => "is a folder, expected an experiment file",
        false => "there is no such file, and no embedded experiment of this name",
    };
    Err(Error::file(path, problem).hint(nearest(name)))
}

/// Returns the path of the embedded experiment with this name, which may include its extension and
/// folder.
///
/// # Errors
/// Fails if there is none.
pub fn named(name: &str) -> Result<PathBuf> {
    match names().find(|known| *known == bare(name)) {
        Some(known) => Ok(path_of(&format!("{known}.toml"))),
        None => {
            let problem = "is no embedded experiment";
            Err(Error::file(Path::new(name), problem).hint(nearest(bare(name))))
        }
    }
}

/// Returns a name without its extension and without the folder `experiments`.
fn bare(given: &str) -> &str {
    let given = given.trim_start_matches("./");
    let name = given.strip_prefix("experiments/").unwrap_or(given);
    name.strip_suffix(".toml").unwrap_or(name)
}

/// Suggests embedded experiments for an unknown name.
fn nearest(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let same = names().filter(|known| known.rsplit('/').next() == Some(last));
    let mut near: Vec<&str> = same.take(5).collect();
    if near.is_empty() {
        near.extend(closest(name, names()));
    }
    match near.is_empty() {
        true => {
            "`dbloss config list` names those that are embedded; a path is relative to the working \
             directory"
                .to_owned()
        }
        false => format!("did you mean `{}`?", near.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
        let mut found = 0;
        let mut folders = vec![folder.clone()];
        while let Some(next) = folders.pop() {
            for entry in fs_err::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending != "md") {
                    found += 1;
                    let name = path.strip_prefix(&folder).unwrap();
                    let text = text_of(&Path::new(ROOT).join(name));
                    let expected = fs_err::read_to_string(&path).unwrap();
                    assert_eq!(text, Some(expected.as_str()), "{}", path.display());
                }
            }
        }
        assert_eq!(found, FILES.len());
        assert!(found > 50);
    }

    #[test]
    fn a_name_is_taken_in_every_way_of_writing_and_a_slip_is_told() {
        // Tests run in a directory where the files of `experiments/` exist.
        for given in [
            "voc-mlt/db-focal",
            "voc-mlt/db-focal.toml",
            "./voc-mlt/db-focal",
        ] {
            let path = meant(Path::new(given)).unwrap();
            assert_eq!(path, Path::new("dbloss:/voc-mlt/db-focal.toml"), "{given}");
        }
        let file = Path::new("experiments/voc-mlt/db-focal.toml");
        assert_eq!(meant(file).unwrap(), file);
        let name = meant(Path::new("experiments/voc-mlt/db-focal")).unwrap();
        let slip = meant(Path::new("voc-mtl/db-fokal")).unwrap_err();
        assert_eq!(slip.remedy(), Some("did you mean `voc-mlt/db-focal`?"));
        let last = meant(Path::new("my/db-focal")).unwrap_err();
        assert!(last.remedy().unwrap().contains("`shapes/db-focal`"));
        let folder = name.parent().unwrap();
        let base = folder.join("../voc-mlt.toml");
        assert_eq!(name_of(&base).as_deref(), Some("voc-mlt.toml"));
        assert_eq!(
            from_here(folder, Path::new("x")).as_deref(),
            Some(Path::new("experiments/voc-mlt/x"))
        );
    }
}
