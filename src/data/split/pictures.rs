//! Whether the pictures of a split are there, before anything is trained on them.

use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::account::FIRST_NAMED;
use crate::error::{Error, Result};
use crate::wording::{counted, is_or_are};

use super::{Set, Split};

/// What [`Split::check_pictures`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureCheck {
    /// Pictures looked for.
    pub pictures: usize,
    /// Pictures that are not there, or are empty files.
    pub missing: usize,
    /// The first of them.
    pub first: Vec<MissingPicture>,
}

/// A picture that is not where the split says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPicture {
    /// Where it should be.
    pub path: PathBuf,
    /// Its set; the split folder's table of that name lists it.
    pub set: Set,
    /// The line in that table, from 1.
    pub line: u64,
    /// A file that may be meant.
    pub near: Option<PathBuf>,
}

impl fmt::Display for MissingPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ({}.csv:{}",
            self.path.display(),
            self.set,
            self.line
        )?;
        if self.path.is_file() {
            f.write_str(", an empty file")?;
        }
        if let Some(near) = &self.near {
            write!(f, "; `{}` is there", near.display())?;
        }
        f.write_str(")")
    }
}

impl Split {
    /// Looks for every picture of some sets on disk: one look a file, nothing is decoded.
    pub fn check_pictures(&self, sets: &[Set]) -> PictureCheck {
        let mut pictures: Vec<(PathBuf, Set, u64)> = Vec::new();
        for &set in sets {
            let (table, root) = match set {
                Set::Train => (Some(&self.train), &self.train_root),
                Set::Validation => (self.validation.as_ref(), &self.train_root),
                Set::Test => (Some(&self.test), &self.test_root),
            };
            // The header of the table is on line 1.
            let images = (2..).zip(table.into_iter().flat_map(|table| table.images()));
            pictures
                .extend(images.filter_map(|(line, image)| Some((root.file(image)?, set, line))));
        }
        let is_there = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.len() > 0);
        let found: Vec<bool> = pictures
            .par_iter()
            .map(|(path, ..)| is_there(path))
            .collect();
        let mut missing = (pictures.iter().zip(&found)).filter(|(_, found)| !**found);
        let first: Vec<MissingPicture> = (missing.by_ref().take(FIRST_NAMED))
            .map(|((path, set, line), _)| MissingPicture {
                near: near(path),
                path: path.clone(),
                set: *set,
                line: *line,
            })
            .collect();
        PictureCheck {
            pictures: pictures.len(),
            missing: first.len() + missing.count(),
            first,
        }
    }
}

impl PictureCheck {
    /// The missing pictures in words, or `None` if all are there.
    pub fn problem(&self) -> Option<String> {
        (self.missing > 0).then(|| {
            let first: Vec<_> = self.first.iter().map(MissingPicture::to_string).collect();
            let more = if self.missing > first.len() {
                ", ..."
            } else {
                ""
            };
            format!(
                "{} of {} {} missing: {}{more}",
                self.missing,
                counted(self.pictures, "picture"),
                is_or_are(self.missing),
                first.join(", ")
            )
        })
    }

    /// An error at `place` if a picture is missing.
    ///
    /// # Errors
    /// A picture is not there, with the remedies.
    pub fn require_all(&self, place: impl fmt::Display) -> Result<()> {
        match self.problem() {
            None => Ok(()),
            Some(problem) => Err(Error::input(place, problem).hint(
                "put the pictures there, build the split again with the folder they lie in (`--images`), or go on without them: `--on-bad-image skip`",
            )),
        }
    }
}

/// A file that `missing` may stand for: the name decoded as in an address, in other letter case,
/// or with another ending.
fn near(missing: &Path) -> Option<PathBuf> {
    if missing.exists() {
        return None;
    }
    let decoded = percent_decoded(missing.to_str()?).map(PathBuf::from);
    if let Some(decoded) = decoded.filter(|path| path.is_file()) {
        return Some(decoded);
    }
    let (folder, name) = (
        missing.parent()?,
        missing.file_name()?.to_str()?.to_lowercase(),
    );
    let stem = missing.file_stem()?.to_str()?.to_lowercase();
    let mut found: Vec<PathBuf> = (fs_err::read_dir(folder).ok()?)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let lower = |part: Option<&std::ffi::OsStr>| Some(part?.to_str()?.to_lowercase());
            lower(path.file_name()).is_some_and(|n| n == name)
                || lower(path.file_stem()).is_some_and(|s| s == stem)
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// `%20` and the like decoded; `None` where there is none.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut any = false;
    while let [first, after @ ..] = rest {
        let code = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high)
                    .zip(digit(low))
                    .map(|(high, low)| (high * 16 + low) as u8)
            }
            _ => None,
        };
        any |= code.is_some();
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok().filter(|_| any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn a_picture_of_another_spelling_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a b.jpg", "c.JPG", "d.png"] {
            write_text(&folder.path().join(name), "x").unwrap();
        }
        for (missing, there) in [
            ("a%20b.jpg", "a b.jpg"),
            ("c.jpg", "c.JPG"),
            ("d.jpg", "d.png"),
        ] {
            let found = near(&folder.path().join(missing));
            assert_eq!(found, Some(folder.path().join(there)), "{missing}");
        }
        assert_eq!(near(&folder.path().join("e%2.jpg")), None);
    }
}
