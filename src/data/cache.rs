//! Keeps pictures from one epoch to the next.
//!
//! Every epoch visits all pictures, so evicting the least recently used one would always evict the
//! picture wanted next. The cache therefore keeps whatever comes first until it is full, and never
//! evicts anything. Cached pictures equal decoded ones, so results do not depend on the cache.
//!
//! A folder can keep pictures beyond the lifetime of the process ([`DiskCache`]): uncompressed
//! pixels, about ten times the size of a JPEG, mapped into memory. Pictures that have been used
//! stay mapped, which costs only a mapping: their pages belong to the system's page cache and are
//! shared by all processes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use crate::data::picture::Rgb8;
use crate::data::source::PictureSource;
use crate::io;
use crate::ops::MappedFile;

/// Decoded and resized pictures in memory, with one limit for both.
#[derive(Debug)]
pub struct Cache {
    decoded: Vec<OnceLock<Arc<Rgb8>>>,
    resized: Vec<OnceLock<Arc<Rgb8>>>,
    /// Bytes that are still available.
    left: AtomicU64,
    /// Number of mapped pictures that can still be kept.
    mappings_left: AtomicU64,
}

/// Maximum number of mapped pictures that are kept: systems allow a process about 65,000 mappings
/// in all.
const MAX_MAPPINGS: u64 = 1 << 14;

/// The form in which a picture is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As decoded; used in training, where augmentation differs every time.
    Decoded,
    /// Resized to the network's input; used in testing.
    Resized,
}

impl Cache {
    /// Creates an empty cache for pictures 0..`images`, of at most `bytes` bytes of pixels.
    /// `mapped` says whether mapped pictures will be kept in addition.
    pub fn new(images: usize, bytes: u64, mapped: bool) -> Self {
        let slots = || {
            // If nothing can be kept, no slots are needed either.
            let count = if bytes == 0 && !mapped { 0 } else { images };
            (0..count).map(|_| OnceLock::new()).collect()
        };
        Cache {
            decoded: slots(),
            resized: slots(),
            left: AtomicU64::new(bytes),
            mappings_left: AtomicU64::new(MAX_MAPPINGS),
        }
    }

    /// Returns the picture `index` in `form` if it is kept.
    pub fn get(&self, index: u32, form: Form) -> Option<Arc<Rgb8>> {
        self.slots(form).get(index as usize)?.get().cloned()
    }

    /// Keeps the picture if there is room; returns it in any case.
    pub fn put(&self, index: u32, form: Form, picture: Rgb8) -> Arc<Rgb8> {
        let picture = Arc::new(picture);
        let Some(slot) = self.slots(form).get(index as usize) else {
            return picture;
        };
        let (left, size) = if picture.is_mapped() {
            (&self.mappings_left, 1)
        } else {
            (&self.left, picture.pixels().len() as u64)
        };
        let room = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(size)
        });
        if room.is_ok() && slot.set(picture.clone()).is_err() {
            // Another worker was faster.
            left.fetch_add(size, Ordering::Relaxed);
        }
        picture
    }

    fn slots(&self, form: Form) -> &[OnceLock<Arc<Rgb8>>] {
        match form {
            Form::Decoded => &self.decoded,
            Form::Resized => &self.resized,
        }
    }
}

/// Decoded pictures in a folder, one file each. If a picture file changes (its path, length or
/// modification time), it gets a new cache file. Several processes may share the folder.
///
/// The files are mapped into memory. They are written completely before they get their final name
/// and are never changed afterwards. Truncating one by hand while a run uses it kills that run;
/// deleting the folder is harmless ([`MappedFile`]).
#[derive(Debug, Clone)]
pub struct DiskCache {
    folder: PathBuf,
}

/// The end of every cache file, so that a partial file is never taken for a complete one. It
/// changes with the layout.
const MAGIC: [u8; 8] = *b"dblossP3";

/// Number of bytes after the pixels: width, height, hash, [`MAGIC`].
const TRAILER: usize = 4 + 4 + 32 + 8;

/// Hashes a picture: a disk that returned other pixels would silently change results.
fn hash(pixels: &[u8], size: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(pixels);
    hasher.update(size);
    *hasher.finalize().as_bytes()
}

impl DiskCache {
    /// Creates a cache in `folder`, which is created when the first picture is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        DiskCache {
            folder: folder.into(),
        }
    }

    /// Returns the cache file of a picture file; `form` distinguishes the forms of a picture.
    /// `None` if the metadata of the picture file cannot be read.
    pub fn path(&self, picture: &Path, form: &str) -> Option<PathBuf> {
        let source = PictureSource::find(picture).ok()??;
        let changed = source.changed?.duration_since(UNIX_EPOCH).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(
            std::path::absolute(picture)
                .ok()?
                .as_os_str()
                .as_encoded_bytes(),
        );
        hasher.update(&source.stamp.to_le_bytes());
        hasher.update(&changed.as_nanos().to_le_bytes());
        hasher.update(form.as_bytes());
        let name = hasher.finalize().to_hex();
        // Spread over subfolders, so that each holds only a few hundred files.
        Some(self.folder.join(&name[..2]).join(&name[2..40]))
    }

    /// Reads the picture from a cache file; `None` if the file does not exist or is incomplete.
    pub fn get(&self, path: &Path) -> Option<Rgb8> {
        let file = MappedFile::new(fs_err::File::open(path).ok()?.file()).ok()?;
        let (pixels, trailer) = file.bytes().split_last_chunk::<TRAILER>()?;
        let number = |at: usize| Some(u32::from_le_bytes(*trailer.get(at..)?.first_chunk()?));
        let (width, height) = (number(0)?, number(4)?);
        if trailer.get(40..)? != MAGIC || trailer.get(8..40)? != hash(pixels, &trailer[..8]) {
            tracing::debug!("{}: is damaged and will be written again", path.display());
            return None;
        }
        let length = pixels.len();
        Rgb8::mapped(width, height, file).filter(|picture| picture.pixels().len() == length)
    }

    /// Writes a cache file. Failures are only logged, since results do not depend on the cache.
    pub fn put(&self, path: &Path, picture: &Rgb8) {
        let written = io::write_cached(path, |writer| {
            let size = [
                picture.width().to_le_bytes(),
                picture.height().to_le_bytes(),
            ]
            .concat();
            writer.write_all(picture.pixels())?;
            writer.write_all(&size)?;
            writer.write_all(&hash(picture.pixels(), &size))?;
            Ok(writer.write_all(&MAGIC)?)
        });
        if let Err(error) = written {
            tracing::debug!("picture cache: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_pictures_and_takes_no_broken_or_stale_ones() {
        let temporary = tempfile::tempdir().unwrap();
        let source = temporary.path().join("a.jpg");
        fs_err::write(&source, b"first").unwrap();
        let cache = DiskCache::new(temporary.path().join("cache"));
        let path = cache.path(&source, "decoded").unwrap();
        assert!(cache.get(&path).is_none());
        let mut picture = Rgb8::filled(5, 3, [1, 2, 3]);
        picture.pixels_mut()[7] = 200;
        cache.put(&path, &picture);
        assert_eq!(cache.get(&path), Some(picture));
        assert_ne!(cache.path(&source, "resized 8"), Some(path.clone()));
        let whole = fs_err::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs_err::write(&path, &whole[..cut]).unwrap();
            assert!(cache.get(&path).is_none(), "{cut} bytes");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs_err::write(&path, bent).unwrap();
            assert!(cache.get(&path).is_none(), "byte {at}");
        }
        // A size too large for any memory, with a matching hash.
        let (pixels, size) = (&whole[..whole.len() - TRAILER], [0xFF; 8]);
        let huge = [pixels, &size, &hash(pixels, &size), &MAGIC].concat();
        fs_err::write(&path, huge).unwrap();
        assert!(cache.get(&path).is_none());
        fs_err::write(&source, b"another picture").unwrap();
        assert_ne!(cache.path(&source, "decoded"), Some(path));
        assert!(cache.path(Path::new("missing.jpg"), "decoded").is_none());
    }

    #[test]
    fn memory_stays_below_the_limit() {
        // Room for two pictures of 12 bytes.
        let cache = Cache::new(4, 30, false);
        for index in 0..4 {
            cache.put(index, Form::Decoded, Rgb8::filled(2, 2, [index as u8; 3]));
            cache.put(index, Form::Decoded, Rgb8::filled(2, 2, [9; 3]));
        }
        let kept: Vec<_> = (0..4).map(|i| cache.get(i, Form::Decoded)).collect();
        assert_eq!(kept.iter().flatten().count(), 2);
        assert_eq!(kept[1].as_ref().unwrap().pixels(), [1; 12]);
        assert!(cache.get(0, Form::Resized).is_none());
    }

    #[test]
    fn mapped_pictures_take_no_memory_and_outlive_their_files() {
        let temporary = tempfile::tempdir().unwrap();
        let source = temporary.path().join("a.jpg");
        fs_err::write(&source, b"any").unwrap();
        let folder = DiskCache::new(temporary.path().join("cache"));
        let path = folder.path(&source, "decoded").unwrap();
        let picture = Rgb8::filled(9, 7, [10, 20, 30]);
        folder.put(&path, &picture);
        let cache = Cache::new(2, 0, true);
        let mapped = folder.get(&path).unwrap();
        assert!(mapped.is_mapped());
        cache.put(0, Form::Decoded, mapped);
        cache.put(1, Form::Decoded, picture.clone());
        fs_err::remove_dir_all(temporary.path().join("cache")).unwrap();
        let kept = cache.get(0, Form::Decoded).unwrap();
        assert_eq!(*kept, picture);
        assert!(cache.get(1, Form::Decoded).is_none(), "there was no memory");
        let mut changed = (*kept).clone();
        changed.pixels_mut()[0] = 99;
        assert_eq!(changed.pixels()[..3], [99, 20, 30]);
        assert_eq!(*kept, picture, "what is kept does not change");
    }

    #[test]
    fn without_memory_nothing_is_kept() {
        let cache = Cache::new(4, 0, false);
        let picture = cache.put(3, Form::Resized, Rgb8::filled(1, 1, [7; 3]));
        assert_eq!(picture.pixels(), [7; 3]);
        assert!(cache.get(3, Form::Resized).is_none());
    }
}
