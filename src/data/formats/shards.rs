//! Finds the files that a path refers to: the file itself, a range, a pattern, or a folder.

use std::path::{Path, PathBuf};

use super::format::beside;
use crate::data::walk;
use crate::error::{Error, Result};

/// A kind of shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shards {
    /// The file name extension, without the dot.
    pub ending: &'static str,
    /// Advice for a file with another extension.
    pub remedy: &'static str,
}

impl Shards {
    fn is_one(self, name: &Path) -> bool {
        (name.extension()).is_some_and(|ending| ending.eq_ignore_ascii_case(self.ending))
    }
}

/// Maximum number of shards in a range.
const MOST: u64 = 1_000_000;

/// Returns the folder of the files that [`shards`] finds for a path.
pub(super) fn folder_of_shards(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.to_owned(),
        false => beside(path),
    }
}

/// Returns the files that a path refers to, with their names, in order: the file itself, those of a
/// range such as `name-{000..012}.tar`, those that match a pattern such as `name-*.tar`, or those
/// in a folder.
///
/// # Errors
/// Returns an error if a file is missing or if there are none.
pub(super) fn shards(path: &Path, kind: Shards) -> Result<Vec<(PathBuf, String)>> {
    let ending = kind.ending;
    if path.is_dir() {
        let found = of_folder(path, |name| kind.is_one(Path::new(name)))?;
        return match found.is_empty() {
            true => {
                let problem = format_args!("the folder contains no `.{ending}` file");
                Err(Error::file(path, problem))
            }
            false => Ok(found),
        };
    }
    let name = (path.file_name().and_then(|name| name.to_str()))
        .ok_or_else(|| Error::file(path, "the name of the shards is not UTF-8"))?;
    if name.contains('*') && !path.exists() {
        let found = of_folder(&beside(path), |other| {
            matches(name, other) && kind.is_one(Path::new(other))
        })?;
        return match found.is_empty() {
            true => Err(Error::file(
                path,
                format_args!("no `.{ending}` file in the folder matches the pattern"),
            )),
            false => Ok(found),
        };
    }
    let names = match path.exists() {
        true => vec![name.to_owned()],
        false => expand(name).map_err(|problem| Error::file(path, problem))?,
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let shard = path.with_file_name(&name);
        if !shard.is_file() {
            return Err(
                Error::file(&shard, "the shard is missing").hint(format_args!(
                    "expected a `.{ending}` file, several as `name-{{000..012}}.{ending}` or \
                 `name-*.{ending}`, or a folder of them"
                )),
            );
        }
        if !kind.is_one(&shard) {
            let problem = format_args!("does not end with `.{ending}`");
            return Err(Error::file(&shard, problem).hint(kind.remedy));
        }
        found.push((shard, name));
    }
    Ok(found)
}

/// Returns path and name of the `wanted` files of a folder, sorted by name.
fn of_folder(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, String)>> {
    let entries = walk::entries(folder)?.into_iter();
    let files = entries.filter(|(name, _, is_folder)| !is_folder && wanted(name));
    Ok(files.map(|(name, path, _)| (path, name)).collect())
}

/// Returns whether a name matches a pattern, in which each `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        match parts.peek() {
            None => return rest.ends_with(part),
            Some(_) => match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            },
        }
    }
    rest.is_empty()
}

/// Expands a range `{first..last}` in a name, with as many digits as `first`; a name without a
/// range is returned unchanged.
fn expand(name: &str) -> Result<Vec<String>, String> {
    let Some((before, (range, after))) =
        (name.split_once('{')).and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return Ok(vec![name.to_owned()]);
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let bounds = (range.split_once(".."))
        .filter(|(first, last)| digits(first) && digits(last))
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?, first.len())));
    match bounds {
        Some((first, last, width)) if first <= last && last - first < MOST => {
            let names = (first..=last).map(|n: u64| format!("{before}{n:0width$}{after}"));
            Ok(names.collect())
        }
        _ => Err(format!(
            "`{{{range}}}` is not a range such as `{{000..012}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{expand, matches};

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, fits) in [
            ("train-*.parquet", "train-00000-of-2.parquet", true),
            ("train-*.parquet", "test-0.parquet", false),
            ("*-of-*.tar", "a-of-b.tar", true),
            ("*-of-*.tar", "a-b.tar", false),
            ("a*a.tar", "a.tar", false),
            ("a*", "a", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn ranges_keep_their_digits() {
        let names = expand("a-{008..011}.tar").unwrap();
        assert_eq!(names, ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]);
        assert_eq!(expand("a.tar").unwrap(), ["a.tar"]);
        for broken in [
            "{a..b}.tar",
            "{3..1}.tar",
            "{1}.tar",
            "{0..99999999999}.tar",
        ] {
            assert!(expand(broken).is_err(), "{broken}");
        }
    }
}
