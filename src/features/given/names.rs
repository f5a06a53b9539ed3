//! Assigns the rows of a file to pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::data::labels::LabelTable;
use crate::data::picture_name::{clean, without_ending};
use crate::data::split::Set;
use crate::error::{Error, KeyPath, Result};
use crate::{rows, text};

/// The pictures of a file's rows, in order.
#[derive(Debug)]
pub(super) struct Names {
    /// The file in which the names are written.
    path: PathBuf,
    names: Vec<String>,
    /// Row by name in the form given by [`key`]; `None` if several rows share a name.
    by_key: [HashMap<String, Option<usize>>; 3],
}

/// Returns the form of a picture's name for comparison: 0 the full name, 1 without the extension, 2
/// also without the folders.
fn key(name: &str, looseness: usize) -> &str {
    let stem = without_ending(name);
    match looseness {
        0 => name,
        1 => stem,
        _ => stem.rsplit('/').next().unwrap_or(stem),
    }
}

impl Names {
    /// Creates the names from `names`, which were read from `path`.
    ///
    /// # Errors
    /// Returns an error if a name is invalid or occurs twice.
    pub(super) fn new(path: &Path, names: Vec<String>) -> Result<Self> {
        let mut cleaned = Vec::with_capacity(names.len());
        for (row, name) in names.iter().enumerate() {
            let name = clean(name)
                .map_err(|problem| Error::file(path, format_args!("row {}: {problem}", row + 1)))?;
            cleaned.push(name.into_owned());
        }
        let mut by_key: [HashMap<String, Option<usize>>; 3] = Default::default();
        for (row, name) in cleaned.iter().enumerate() {
            for (looseness, rows) in by_key.iter_mut().enumerate() {
                let entry = rows.entry(key(name, looseness).to_owned());
                let twice = matches!(entry, std::collections::hash_map::Entry::Occupied(_));
                if twice && looseness == 0 {
                    return Err(Error::file(path, format_args!("`{name}` occurs twice")));
                }
                entry.and_modify(|row| *row = None).or_insert(Some(row));
            }
        }
        Ok(Names {
            path: path.to_owned(),
            names: cleaned,
            by_key,
        })
    }

    /// Reads a file of names: one per line, or the column `image` of a CSV file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, and the errors of [`Names::new`].
    pub(super) fn read(path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|ending| ending != "csv") {
            let text = text::read(path)?;
            let names = text.lines().map(str::to_owned).collect();
            return Self::new(path, names);
        }
        let mut csv = csv::Reader::from_reader(fs_err::File::open(path)?);
        let header = csv.headers().map_err(|e| rows::failed(path, e))?;
        let column = header.iter().position(|name| name.trim() == "image");
        let Some(column) = column else {
            let problem = "expected a header with the column `image`";
            return Err(Error::line(path, 1, problem)
                .hint("a file with one name per line and no header must end in `.txt`"));
        };
        let names = csv.records().map(|row| {
            let row = row.map_err(|e| rows::failed(path, e))?;
            Ok(row.get(column).unwrap_or_default().to_owned())
        });
        let names = names.collect::<Result<_>>()?;
        Self::new(path, names)
    }

    /// Reads the names in the file next to a file of features, with the extension `.txt` or `.csv`.
    ///
    /// # Errors
    /// Returns an error if neither file or both exist.
    pub(super) fn beside(path: &Path, set: Set) -> Result<Self> {
        let at = KeyPath::from(format!("model.features.{set}_names").as_str());
        let [text, table] = ["txt", "csv"].map(|ending| path.with_extension(ending));
        match (text.is_file(), table.is_file()) {
            (true, false) => Self::read(&text),
            (false, true) => Self::read(&table),
            (true, true) => {
                let [text, table] = [text, table].map(|path| path.display().to_string());
                let problem = format!("is missing, and both {text} and {table} exist");
                Err(Error::key(at, problem)
                    .hint("say which of them contains the names of the pictures"))
            }
            (false, false) => {
                let problem = format!(
                    "is missing, and {} contains no names of pictures",
                    path.display()
                );
                Err(Error::key(at, problem).hint(format_args!(
                    "name a file with one picture per line, in the order of the rows, or place it \
                     beside the features as {}",
                    text.display()
                )))
            }
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns an error unless the number of names is `rows`, the number of features in `path`.
    pub(super) fn check_count(&self, path: &Path, rows: usize) -> Result<()> {
        if self.len() == rows {
            return Ok(());
        }
        let problem = format!(
            "names {} pictures, but {} has {rows} rows",
            self.len(),
            path.display()
        );
        Err(Error::file(&self.path, problem))
    }

    /// Returns the row of each image of `table`. Names are compared in full; if that finds nothing,
    /// without extensions; and if that finds nothing either, also without folders. A looser match
    /// is reported.
    ///
    /// # Errors
    /// Returns an error if an image has no row in `path`.
    pub(super) fn rows_of(&self, table: &LabelTable, path: &Path, set: Set) -> Result<Vec<usize>> {
        let mut told = false;
        let mut missing = Vec::new();
        let mut found = Vec::with_capacity(table.len());
        for image in table.images() {
            match self.row(image) {
                Some((row, looseness)) => {
                    if looseness > 0 && !told {
                        told = true;
                        tracing::info!(
                            "{}: pictures are matched without {}, first `{}` with `{image}`",
                            self.path.display(),
                            ["", "their endings", "folders and endings"][looseness],
                            self.names[row],
                        );
                    }
                    found.push(row);
                }
                None => missing.push(image),
            }
        }
        match missing.first() {
            None => Ok(found),
            Some(first) => {
                let problem = format!(
                    "lacks {} of the {} pictures of {set}, first `{first}`; its first row is `{}`",
                    missing.len(),
                    table.len(),
                    self.names.first().map_or("", String::as_str),
                );
                let at = format!("model.features.{set}");
                Err(Error::file(path, problem).hint(format_args!(
                    "every picture needs a row; set `{at}` to use another file"
                )))
            }
        }
    }

    fn row(&self, image: &str) -> Option<(usize, usize)> {
        (self.by_key.iter().enumerate()).find_map(|(looseness, rows)| {
            let row = rows.get(key(image, looseness)).copied().flatten();
            row.map(|row| (row, looseness))
        })
    }

    /// Returns the names that do not refer to an image of these tables.
    pub(super) fn not_in(&self, tables: &[&LabelTable]) -> Vec<&str> {
        let mut taken = vec![false; self.len()];
        for image in tables.iter().flat_map(|table| table.images()) {
            if let Some((row, _)) = self.row(image) {
                taken[row] = true;
            }
        }
        let names = self.names.iter().zip(taken);
        let left = names.filter(|(_, taken)| !taken);
        left.map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Result<Names> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Names::new(Path::new("names.txt"), names)
    }

    fn table(images: &[&str]) -> LabelTable {
        let mut table = LabelTable::new(vec!["cat".into()]);
        images.iter().for_each(|image| table.push(*image, [0]));
        table
    }

    #[test]
    fn pictures_are_found_by_the_strictest_name_that_fits() {
        let names = names(&["x/a.jpg", "y\\b.png", "./c", "d.jpg", "z/d.jpg"]).unwrap();
        let rows = |images: &[&str]| {
            let rows = names.rows_of(&table(images), Path::new("a.npy"), Set::Train);
            rows.map_err(|error| error.to_string())
        };
        assert_eq!(
            rows(&["d.jpg", "x/a.jpg", "b.jpg", "c.jpg"]),
            Ok(vec![3, 0, 1, 2])
        );
        assert_eq!(rows(&["z/d.png", "q/a.jpg"]), Ok(vec![4, 0]));
        // It is impossible to tell which of the two is meant.
        let problem = rows(&["q/d.jpg", "x/a.jpg"]).unwrap_err();
        assert!(
            problem.contains("lacks 1 of the 2") && problem.contains("`q/d.jpg`"),
            "{problem}"
        );
        assert_eq!(
            names.not_in(&[&table(&["a.jpg", "d.jpg"])]),
            ["y/b.png", "c", "z/d.jpg"]
        );
        assert!(names.check_count(Path::new("a.npy"), 4).is_err());
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert!(
            names(&["a.jpg", ""])
                .unwrap_err()
                .to_string()
                .contains("row 2")
        );
        let twice = names(&["a.jpg", "./a.jpg"]).unwrap_err().to_string();
        assert!(twice.contains("twice"), "{twice}");
    }

    #[test]
    fn lines_and_a_column_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("a.txt"), "\u{feff}a.jpg\r\nb c.jpg\r\n").unwrap();
        assert_eq!(
            Names::read(&at("a.txt")).unwrap().names,
            ["a.jpg", "b c.jpg"]
        );
        fs_err::write(at("b.csv"), "id,image\n1,a.jpg\n2,\"b,c.jpg\"\n").unwrap();
        assert_eq!(
            Names::read(&at("b.csv")).unwrap().names,
            ["a.jpg", "b,c.jpg"]
        );
        fs_err::write(at("c.csv"), "a.jpg\nb.jpg\n").unwrap();
        assert!(Names::read(&at("c.csv")).is_err());
        let beside = |name: &str| Names::beside(&at(name), Set::Test).map(|names| names.len());
        assert_eq!(beside("a.npy").unwrap(), 2);
        assert_eq!(beside("b.npy").unwrap(), 2);
        let missing = beside("d.npy").unwrap_err().to_string();
        assert!(missing.contains("model.features.test_names"), "{missing}");
        fs_err::write(at("a.csv"), "image\na.jpg\n").unwrap();
        assert!(beside("a.npy").is_err());
    }
}
