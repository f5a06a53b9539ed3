//! Identifies pictures by their content rather than their names: hashes of their bytes, each
//! computed once.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image::ImageRoot;
use super::labels::LabelTable;
use super::source::PictureSource;
use crate::error::Result;
use crate::progress::Progress;
use crate::{interrupt, rows};

/// Number of pictures hashed between checks for interruption.
const AT_A_TIME: usize = 512;

/// Number of pictures from which hashing shows its progress.
const MANY: usize = 2000;

/// Hashes of the bytes of pictures. A picture that is in several sets is read once.
///
/// Hashes stored in a file are reused as long as the length and modification time of the picture's
/// file are unchanged, as in `make` and `rsync`, so that a later process need not read any picture.
#[derive(Debug, Default)]
pub struct PictureHashes {
    known: HashMap<PathBuf, Known>,
    /// Whether there are hashes that the file does not have.
    news: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    state: Option<State>,
    hash: String,
}

/// What the system reports about a picture without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// The source's stamp: the length of the picture, or of the file that contains it.
    length: u64,
    /// Time of the last change, in nanoseconds since 1970.
    changed: u64,
}

/// A picture, one row of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    picture: String,
    length: u64,
    changed: u64,
    blake3: String,
}

impl PictureHashes {
    /// Reads the hashes that an earlier process stored in `file`; there are none if it does not
    /// exist. A file that cannot be read causes a warning, and its pictures are hashed again.
    pub fn read(file: &Path) -> Self {
        if !file.exists() {
            return Self::default();
        }
        let rows = rows::read::<Row>(file).unwrap_or_else(|error| {
            tracing::warn!("{error}; the pictures are hashed again");
            Vec::new()
        });
        let known = rows.into_iter().map(|row| {
            let state = State {
                length: row.length,
                changed: row.changed,
            };
            let known = Known {
                state: Some(state),
                hash: row.blake3,
            };
            (PathBuf::from(row.picture), known)
        });
        PictureHashes {
            known: known.collect(),
            news: false,
        }
    }

    /// Stores the hashes in `file` if there are any that it does not have.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn keep(&mut self, file: &Path) -> Result<()> {
        if !self.news {
            return Ok(());
        }
        // Ordered by name, so that equal pictures produce equal files.
        let sorted: BTreeMap<&Path, &Known> = (self.known.iter())
            .map(|(path, known)| (path.as_path(), known))
            .collect();
        let kept = sorted.into_iter().filter_map(|(path, known)| {
            Some(Row {
                picture: path.to_str()?.to_owned(),
                length: known.state?.length,
                changed: known.state?.changed,
                blake3: known.hash.clone(),
            })
        });
        rows::write(file, kept)?;
        self.news = false;
        Ok(())
    }

    /// Returns the hash of each picture of `table`, in order, in hexadecimal. A picture that is
    /// drawn or missing is represented by its name instead.
    ///
    /// # Errors
    /// Returns an error if a picture cannot be read or the process is asked to stop.
    pub fn of(&mut self, root: &ImageRoot, table: &LabelTable) -> Result<Vec<String>> {
        let looked: Vec<Result<Look>> = (table.images().par_iter())
            .map(|name| look(root, name))
            .collect();
        let looked: Vec<Look> = looked.into_iter().collect::<Result<_>>()?;
        let is_known = |look: &Look| {
            let known = self.known.get(&look.place);
            known.is_some_and(|known| known.state == look.state)
        };
        let unknown: Vec<usize> = (0..looked.len())
            .filter(|&i| !is_known(&looked[i]))
            .collect();
        let mut progress =
            (unknown.len() >= MANY).then(|| Progress::new("hash pictures", unknown.len() as u64));
        for some in unknown.chunks(AT_A_TIME) {
            interrupt::check("the pictures are not all hashed")?;
            let hashed: Vec<Result<String>> = (some.par_iter())
                .map(|&image| {
                    let name = table.image(image);
                    Ok(root.hash(name)?.unwrap_or_else(|| name.to_owned()))
                })
                .collect();
            for (&image, hash) in some.iter().zip(hashed) {
                let Look { place, state } = looked[image].clone();
                self.news |= state.is_some();
                self.known.insert(place, Known { state, hash: hash? });
            }
            if let Some(progress) = &mut progress {
                progress.advance(some.len() as u64);
            }
        }
        Ok((looked.iter())
            .map(|look| self.known[&look.place].hash.clone())
            .collect())
    }
}

/// The location of a picture, and its state.
#[derive(Debug, Clone)]
struct Look {
    place: PathBuf,
    /// `None` for a picture that is drawn or missing, or if the system provides no modification
    /// time.
    state: Option<State>,
}

fn look(root: &ImageRoot, name: &str) -> Result<Look> {
    let Some(place) = root.file(name) else {
        let place = PathBuf::from(name);
        return Ok(Look { place, state: None });
    };
    let source = PictureSource::find(&place)?;
    let state = source.and_then(|source| {
        let changed = source.changed?.duration_since(UNIX_EPOCH).ok()?;
        Some(State {
            length: source.stamp,
            changed: changed.as_nanos().try_into().ok()?,
        })
    });
    Ok(Look { place, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn table(names: &[&str]) -> LabelTable {
        let rows = names.iter().map(|name| format!("{name},a\n"));
        let text = format!("image,labels\n{}", rows.collect::<String>());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.csv");
        fs_err::write(&file, text).unwrap();
        crate::data::formats::table::read(&file, None).unwrap()
    }

    fn write(path: &Path, bytes: &[u8], seconds: u64) {
        fs_err::write(path, bytes).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.file().set_modified(time).unwrap();
    }

    #[test]
    fn pictures_count_by_their_bytes_and_are_read_again_only_once_they_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let path = folder.path().to_owned();
        let (root, kept) = (ImageRoot::Folder { path }, at("pictures.csv"));
        write(&at("a.jpg"), b"one", 1000);
        write(&at("b.jpg"), b"one", 2000);
        write(&at("c.jpg"), b"two", 3000);
        let table = table(&["a.jpg", "b.jpg", "c.jpg", "missing.jpg"]);

        let mut hashes = PictureHashes::read(&kept);
        let first = hashes.of(&root, &table).unwrap();
        assert_eq!(first[0], blake3::hash(b"one").to_hex().to_string());
        assert_eq!(first[0], first[1]);
        assert_ne!(first[0], first[2]);
        assert_eq!(first[3], "missing.jpg");
        hashes.keep(&kept).unwrap();
        let bytes = fs_err::read(&kept).unwrap();

        // Length and time are unchanged: another process uses the stored hash without reading the
        // bytes, and has nothing to write.
        write(&at("a.jpg"), b"ten", 1000);
        let mut later = PictureHashes::read(&kept);
        assert_eq!(later.of(&root, &table).unwrap(), first);
        later.keep(&at("never.csv")).unwrap();
        assert!(!at("never.csv").exists());

        // A new modification time, a new length and a picture that now exists are all detected.
        write(&at("a.jpg"), b"ten", 1001);
        write(&at("c.jpg"), b"three", 3000);
        write(&at("missing.jpg"), b"four", 4000);
        let mut later = PictureHashes::read(&kept);
        let found = later.of(&root, &table).unwrap();
        for (hash, bytes) in found.iter().zip([&b"ten"[..], b"one", b"three", b"four"]) {
            assert_eq!(*hash, blake3::hash(bytes).to_hex().to_string());
        }
        later.keep(&kept).unwrap();
        assert_ne!(fs_err::read(&kept).unwrap(), bytes);

        // If the file is damaged, the pictures are read again, nothing worse.
        fs_err::write(&kept, "picture,length\nx,y\n").unwrap();
        assert_eq!(PictureHashes::read(&kept).of(&root, &table).unwrap(), found);
    }
}
