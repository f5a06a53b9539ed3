//! The pictures named on a command line: files, folders, and a list that is streamed from standard
//! input.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::parquet_file::{ParquetFile, has_parquet_ending};
use super::picture::has_picture_ending;
use super::tar::{Tar, has_archive_ending};
use super::walk::Walk;
use crate::error::{Error, Result};

/// The path that stands for the list.
pub const LIST: &str = "-";

/// An iterator over the names of pictures: files as given, the pictures of a folder and its
/// subfolders in sorted order, the pictures of a tar archive or a Parquet file in its order, and
/// the lines of the list where [`LIST`] stands. Memory use does not grow with the number of
/// pictures, only with the number of files in a single folder or archive.
///
/// A file that is named explicitly is included whatever its extension; from a folder, only files
/// with the extension of a picture are. An invalid name yields an error, after which iteration
/// continues.
pub struct PicturePaths<'a> {
    paths: std::vec::IntoIter<PathBuf>,
    list: Box<dyn BufRead + 'a>,
    /// The number of the last line read, while lines of the list come next.
    listed: Option<u64>,
    walk: Option<Walk>,
    /// The remaining pictures of the current archive, in reverse order.
    archive: Vec<String>,
    passed_over: u64,
}

impl<'a> PicturePaths<'a> {
    /// Creates an iterator over the pictures of `paths`, in which [`LIST`] stands for the lines of
    /// `list`.
    pub fn new(paths: Vec<PathBuf>, list: impl BufRead + 'a) -> Self {
        PicturePaths {
            paths: paths.into_iter(),
            list: Box::new(list),
            listed: None,
            walk: None,
            archive: Vec::new(),
            passed_over: 0,
        }
    }

    /// Returns the number of files in folders that were skipped because they do not have the
    /// extension of a picture.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Returns the next picture of the current folder.
    fn walked(&mut self) -> Option<Result<String>> {
        for file in self.walk.as_mut()? {
            match &file {
                Ok(name) if is_archive(name) => return Some(file),
                Ok(name) if !has_picture_ending(name) => self.passed_over += 1,
                _ => return Some(file),
            }
        }
        self.walk = None;
        None
    }

    /// Lists the pictures of an archive.
    fn list_archive(&mut self, archive: &str) -> Result<()> {
        let path = Path::new(archive);
        if has_parquet_ending(path) {
            let file = ParquetFile::of(path)?;
            let column = file.picture_column(None)?;
            let rows = (0..file.rows()).rev();
            self.archive = rows
                .map(|row| format!("{archive}/{column}/{row}"))
                .collect();
            return Ok(());
        }
        let tar = Tar::of(path)?;
        let names = tar.entries().iter().map(|entry| entry.name.as_str());
        let (pictures, others): (Vec<&str>, Vec<&str>) = names.partition(|n| has_picture_ending(n));
        self.passed_over += (others.len() + tar.others().len()) as u64;
        self.archive = pictures
            .iter()
            .rev()
            .map(|name| format!("{archive}/{name}"))
            .collect();
        Ok(())
    }

    /// Returns the next non-empty line of the list.
    fn line(&mut self) -> Option<Result<String>> {
        let place = Path::new("standard input");
        loop {
            let number = self.listed? + 1;
            let mut line = Vec::new();
            match self.list.read_until(b'\n', &mut line) {
                Ok(0) => {
                    self.listed = None;
                    return None;
                }
                Ok(_) => self.listed = Some(number),
                Err(problem) => {
                    self.listed = None;
                    return Some(Err(Error::line(place, number, problem)));
                }
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = match number {
                1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
                _ => line,
            };
            match std::str::from_utf8(line) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Some(Ok(text.to_owned())),
                Err(_) => return Some(Err(Error::line(place, number, "the path is not UTF-8"))),
            }
        }
    }
}

impl Iterator for PicturePaths<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(name) = self.archive.pop() {
                return Some(Ok(name));
            }
            let name = match self.walked().or_else(|| self.line()) {
                Some(Ok(name)) => name,
                Some(error) => return Some(error),
                None => match self.paths.next()?.into_os_string().into_string() {
                    Ok(name) if name == LIST => {
                        self.listed = Some(0);
                        continue;
                    }
                    Ok(name) => name,
                    Err(name) => {
                        let problem = "the path is not UTF-8";
                        return Some(Err(Error::file(Path::new(&name), problem)));
                    }
                },
            };
            if is_archive(&name) {
                if let Err(error) = self.list_archive(&name) {
                    return Some(Err(error));
                }
            } else if Path::new(&name).is_dir() {
                self.walk = Some(Walk::new(Path::new(&name), &name));
            } else {
                return Some(Ok(name));
            }
        }
    }
}

/// Returns whether a name is that of an existing archive.
fn is_archive(name: &str) -> bool {
    let path = Path::new(name);
    (has_archive_ending(path) || has_parquet_ending(path)) && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn files_folders_and_lists_come_in_the_order_given() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        for name in ["f/b.png", "f/a.JPG", "f/notes.txt", "f/g/c.jpg"] {
            write_text(&folder.path().join(name), "x").unwrap();
        }
        let list = format!("\u{feff}one.jpg\r\n\n{root}/f/g\n two.xyz").into_bytes();
        let list = [&list[..], b"\nbad\xff.jpg\nlast.jpg\n"].concat();
        let paths = ["z.dat", "-", &format!("{root}/f"), "gone.jpg"];
        let mut found = PicturePaths::new(paths.map(PathBuf::from).to_vec(), &list[..]);
        let all: Vec<String> = (found.by_ref())
            .map(|name| name.unwrap_or_else(|error| error.to_string()))
            .collect();
        let expected = [
            "z.dat",
            "one.jpg",
            &format!("{root}/f/g/c.jpg"),
            " two.xyz",
            "standard input:5: the path is not UTF-8",
            "last.jpg",
            &format!("{root}/f/a.JPG"),
            &format!("{root}/f/b.png"),
            &format!("{root}/f/g/c.jpg"),
            "gone.jpg",
        ];
        assert_eq!(all, expected);
        assert_eq!(found.passed_over(), 1);
    }
}
