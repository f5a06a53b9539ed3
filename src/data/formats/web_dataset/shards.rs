//! Which archives a path stands for.

use std::path::{Path, PathBuf};

use super::has_archive_ending;
use crate::data::walk;
use crate::error::{Error, Result};

/// Most shards that a range may name.
const MOST: u64 = 1_000_000;

/// The archives of a path, with their names, in order: the archive itself, those of a range such as
/// `name-{000..012}.tar`, or those in a folder.
///
/// # Errors
/// One is missing, or there is none.
pub(super) fn shards(path: &Path) -> Result<Vec<(PathBuf, String)>> {
    if path.is_dir() {
        let entries = walk::entries(path)?.into_iter();
        let found: Vec<_> = entries
            .filter(|(name, _, is_folder)| !is_folder && has_archive_ending(Path::new(name)))
            .map(|(name, path, _)| (path, name))
            .collect();
        return match found.is_empty() {
            true => Err(Error::file(path, "the folder holds no `.tar` file")),
            false => Ok(found),
        };
    }
    let name = (path.file_name().and_then(|name| name.to_str()))
        .ok_or_else(|| Error::file(path, "the name of the shards is not UTF-8"))?;
    let names = match path.exists() {
        true => vec![name.to_owned()],
        false => expand(name).map_err(|problem| Error::file(path, problem))?,
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let shard = path.with_file_name(&name);
        if !shard.is_file() {
            return Err(Error::file(&shard, "the shard is missing").hint(
                "expected a `.tar` file, several as `name-{000..012}.tar`, or a folder of them",
            ));
        }
        if !has_archive_ending(&shard) {
            return Err(Error::file(&shard, "does not end with `.tar`").hint(
                "unpack compressed shards first: pictures in them are read from their place",
            ));
        }
        found.push((shard, name));
    }
    Ok(found)
}

/// The names of a range `{first..last}`, with as many digits as `first`; a name without one is
/// itself.
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
            "`{{{range}}}` is no range, expected one such as `{{000..012}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

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
