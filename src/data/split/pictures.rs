//! Checks that the pictures of a split exist and are readable, before anything is trained on them.

use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::class_name::nfc;
use crate::data::glance::{Flaw, glance};
use crate::error::{Error, Result};
use crate::wording::{FIRST_NAMED, counted, is_or_are};

use super::{Set, Split};

/// The result of [`Split::check_pictures`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureCheck {
    /// Number of pictures checked.
    pub pictures: usize,
    /// Number of pictures that do not exist or are empty files.
    pub missing: usize,
    /// Number of pictures that exist but cannot be read, as far as a quick look at the file shows.
    pub unreadable: usize,
    /// The first few missing ones, then the first few unreadable ones.
    pub first: Vec<BadPicture>,
    /// The files of all missing and unreadable pictures.
    pub files: Vec<PathBuf>,
}

/// A picture that is missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPicture {
    /// Its path, or the path where it should be.
    pub path: PathBuf,
    /// The set it belongs to; the table of that name in the split folder lists it.
    pub set: Set,
    /// The line in that table, counted from 1.
    pub line: u64,
    /// Why it cannot be read; `None` if it is missing.
    pub problem: Option<String>,
    /// An existing file that may have been meant instead of a missing one.
    pub near: Option<PathBuf>,
}

impl fmt::Display for BadPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ({}.csv:{}",
            self.path.display(),
            self.set,
            self.line
        )?;
        match &self.problem {
            Some(problem) => write!(f, ": {problem}")?,
            None if self.path.is_file() => f.write_str(", an empty file")?,
            None => {}
        }
        if let Some(near) = &self.near {
            write!(f, "; `{}` is there", near.display())?;
        }
        f.write_str(")")
    }
}

impl Split {
    /// Checks every picture file of the given sets: whether it exists, and what its first and last
    /// bytes say. Nothing is decoded unless the end of a file looks wrong.
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
        let flaws: Vec<Option<Flaw>> = (pictures.par_iter())
            .map(|(path, ..)| glance(path).err())
            .collect();
        let bad = |is_missing: bool| {
            let flawed = pictures.iter().zip(&flaws);
            flawed.filter_map(move |((path, set, line), flaw)| {
                let problem = match flaw.as_ref()? {
                    Flaw::Missing | Flaw::Empty => None,
                    Flaw::Unreadable(problem) => Some(problem.clone()),
                };
                (problem.is_none() == is_missing).then(|| BadPicture {
                    path: path.clone(),
                    set: *set,
                    line: *line,
                    problem,
                    near: None,
                })
            })
        };
        let mut first: Vec<BadPicture> = bad(true).take(FIRST_NAMED).collect();
        for picture in &mut first {
            picture.near = near(&picture.path);
        }
        first.extend(bad(false).take(FIRST_NAMED));
        let all = pictures.iter().zip(&flaws);
        let files = all.filter_map(|((path, ..), flaw)| flaw.as_ref().map(|_| path.clone()));
        PictureCheck {
            files: files.collect(),
            pictures: pictures.len(),
            missing: bad(true).count(),
            unreadable: bad(false).count(),
            first,
        }
    }
}

impl PictureCheck {
    /// Describes what is wrong with the pictures; `None` if nothing is.
    pub fn problem(&self) -> Option<String> {
        let of_kind = |count: usize, what: &str, is_missing: bool| {
            let first = (self.first.iter()).filter(|p| p.problem.is_none() == is_missing);
            let first: Vec<String> = first.map(BadPicture::to_string).collect();
            let more = if count > first.len() { ", ..." } else { "" };
            (count > 0).then(|| {
                format!(
                    "{count} of {} {what}: {}{more}",
                    counted(self.pictures, "picture"),
                    first.join(", ")
                )
            })
        };
        let missing = format!("{} missing", is_or_are(self.missing));
        let problems = [
            of_kind(self.missing, &missing, true),
            of_kind(self.unreadable, "cannot be read", false),
        ];
        let problems: Vec<String> = problems.into_iter().flatten().collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// Returns an error at `place` if a picture is missing or cannot be read.
    ///
    /// # Errors
    /// Returns an error, with the remedies, if a picture does not exist or is not a picture.
    pub fn require_all(&self, place: impl fmt::Display) -> Result<()> {
        let Some(problem) = self.problem() else {
            return Ok(());
        };
        let remedy = match self.missing {
            0 => "repair those pictures",
            _ => {
                "restore the pictures, build the split again with the folder that contains them (`--images`)"
            }
        };
        Err(Error::input(place, problem).hint(format_args!(
            "{remedy}, or continue without them: `--on-bad-image skip`"
        )))
    }
}

/// Finds a file that `missing` may stand for: its name after percent-decoding, with other letter
/// case or Unicode normalisation, or with another extension.
fn near(missing: &Path) -> Option<PathBuf> {
    if missing.exists() {
        return None;
    }
    let decoded = percent_decoded(missing.to_str()?).map(PathBuf::from);
    if let Some(decoded) = decoded.filter(|path| path.is_file()) {
        return Some(decoded);
    }
    let folder = missing.parent()?;
    // macOS normalises file names differently from most other systems.
    let lower = |part: &std::ffi::OsStr| Some(nfc(part.to_str()?).to_lowercase());
    let (name, stem) = (lower(missing.file_name()?)?, lower(missing.file_stem()?)?);
    let mut found: Vec<PathBuf> = (fs_err::read_dir(folder).ok()?)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(lower).is_some_and(|n| n == name)
                || path.file_stem().and_then(lower).is_some_and(|s| s == stem)
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// Decodes `%20` and the like; `None` if there is nothing to decode.
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
        for name in ["a b.jpg", "c.JPG", "d.png", "cafe\u{301}.jpg"] {
            write_text(&folder.path().join(name), "x").unwrap();
        }
        for (missing, there) in [
            ("a%20b.jpg", "a b.jpg"),
            ("c.jpg", "c.JPG"),
            ("d.jpg", "d.png"),
            ("caf\u{e9}.jpg", "cafe\u{301}.jpg"),
        ] {
            let found = near(&folder.path().join(missing));
            assert_eq!(found, Some(folder.path().join(there)), "{missing}");
        }
        assert_eq!(near(&folder.path().join("e%2.jpg")), None);
    }
}
