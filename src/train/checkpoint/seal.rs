//! The metadata of a checkpoint: the version of its format, the hash of its bytes, and the position
//! of the training.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::position::Position;
use crate::error::{Error, Result};
use crate::io::write_atomic;
use crate::model::weights::{metadata, to_bytes};

/// Metadata key of the seal.
const KEY: &str = "dbloss.checkpoint";

/// Metadata key of the position alone, in files of the first format.
const FIRST_KEY: &str = "dbloss.position";

/// The current format. 1: only the position, including times and without a hash. 2: this one.
const FORMAT: u32 = 2;

/// Placeholder for the hash while it is computed, of the same length.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The contents of the file's metadata.
#[derive(Serialize, Deserialize)]
struct Seal {
    format: u32,
    /// blake3 hash of the file, in hexadecimal, computed with [`BLANK`] in its own place.
    hash: String,
    position: Position,
}

/// The format version in a metadata text, regardless of its other contents.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Writes a checkpoint of `tensors`.
pub(super) fn write(path: &Path, tensors: &[(String, Tensor)], position: &Position) -> Result<()> {
    let cannot = |problem: String| Error::file(path, format!("cannot be written: {problem}"));
    let seal = Seal {
        format: FORMAT,
        hash: BLANK.to_owned(),
        position: position.clone(),
    };
    let seal = serde_json::to_string(&seal).map_err(|e| cannot(e.to_string()))?;
    let metadata = BTreeMap::from([(KEY.to_owned(), seal)]);
    let mut bytes = to_bytes(path, tensors, &metadata)?;
    let place = (header_of(&bytes).and_then(|header| find(header, BLANK)))
        .ok_or_else(|| cannot("its header has no place for the hash".to_owned()))?;
    let hash = blake3::hash(&bytes).to_hex();
    bytes[place..place + BLANK.len()].copy_from_slice(hash.as_bytes());
    write_atomic(path, |writer| Ok(writer.write_all(&bytes)?))
}

/// Returns the header of a file, including the length before it.
fn header_of(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    bytes.get(..length.checked_add(8)?)
}

/// Returns the offset of `text`.
fn find(bytes: &[u8], text: &str) -> Option<usize> {
    memchr::memmem::find(bytes, text.as_bytes())
}

/// Reads the position and the hash; the hash is `None` for a file of the first format.
fn read(path: &Path) -> Result<(Position, Option<String>)> {
    let stranger = || Error::file(path, "is not a checkpoint of dbloss");
    let metadata = metadata(path).map_err(|error| match error {
        // A missing or unreadable file is the more useful error.
        Error::Io(_) => error,
        _ => stranger(),
    })?;
    let Some(text) = metadata.get(KEY) else {
        let text = metadata.get(FIRST_KEY).ok_or_else(stranger)?;
        let position = serde_json::from_str(text).map_err(|_| stranger())?;
        return Ok((position, None));
    };
    let version: Version = serde_json::from_str(text).map_err(|_| stranger())?;
    if version.format > FORMAT {
        let problem = format!(
            "is a checkpoint of format {}, and this version of dbloss reads formats up to {FORMAT}",
            version.format
        );
        return Err(Error::file(path, problem).hint("read it with the version that wrote it"));
    }
    let seal: Seal = serde_json::from_str(text).map_err(|_| stranger())?;
    Ok((seal.position, Some(seal.hash)))
}

/// Returns the position of the training without verifying the hash.
pub(super) fn position(path: &Path) -> Result<Position> {
    Ok(read(path)?.0)
}

/// Returns the position of the training after verifying the hash. Files of the first format have no
/// hash to verify.
pub(super) fn verified(path: &Path) -> Result<Position> {
    let (position, hash) = read(path)?;
    match hash {
        Some(hash) if hash_without(path, &hash)?.as_deref() != Some(&*hash) => Err(damaged(path)),
        _ => Ok(position),
    }
}

fn damaged(path: &Path) -> Error {
    Error::file(
        path,
        "is damaged: its bytes do not match the hash that they were written with",
    )
    .hint(
        "put a copy in its place, for example an `epoch-N.safetensors` beside it, which \
         `train.keep_every` keeps, or start the run again with `--force`",
    )
}

/// Computes the hash of a file with [`BLANK`] in place of `hash` in its header; `None` if `hash` is
/// not there.
fn hash_without(path: &Path, hash: &str) -> Result<Option<String>> {
    let mut file = fs_err::File::open(path)?;
    let mut header = vec![0; 8];
    file.read_exact(&mut header)?;
    let length = u64::from_le_bytes(*header.first_chunk().unwrap_or(&[0; 8]));
    // The header has been read before, so the file has this length.
    (&mut file).take(length).read_to_end(&mut header)?;
    let Some(place) = find(&header, hash).filter(|_| hash.len() == BLANK.len()) else {
        return Ok(None);
    };
    header[place..place + BLANK.len()].copy_from_slice(BLANK.as_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Some(hasher.finalize().to_hex().to_string()));
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensors() -> Vec<(String, Tensor)> {
        let values = Tensor::new(&[1f32, -2.5, 3.0], &Device::Cpu).unwrap();
        vec![("head.w".to_owned(), values)]
    }

    fn stood() -> Position {
        Position {
            step: 7,
            loss_sum: 0.1 + 0.2,
            config_hash: BLANK.to_owned(),
            ..Position::default()
        }
    }

    #[test]
    fn a_changed_or_missing_byte_is_found_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        write(&path, &tensors(), &stood()).unwrap();
        assert_eq!(verified(&path).unwrap(), stood());
        let whole = fs_err::read(&path).unwrap();
        write(&path, &tensors(), &stood()).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), whole, "twice the same");
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs_err::write(&path, &bent).unwrap();
            assert!(verified(&path).is_err(), "byte {at}");
            fs_err::write(&path, &whole[..at]).unwrap();
            assert!(verified(&path).is_err(), "cut at {at}");
        }
        // Another tensor of the same shape in a well-formed file.
        let last = whole.len() - 1;
        let mut bent = whole;
        bent[last] ^= 0x80;
        fs_err::write(&path, &bent).unwrap();
        let error = verified(&path).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
        assert_eq!(position(&path).unwrap(), stood());
    }

    #[test]
    fn the_first_format_is_read_and_a_later_one_refused_with_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let put = |key: &str, text: &str| {
            let metadata = BTreeMap::from([(key.to_owned(), text.to_owned())]);
            let bytes = to_bytes(&path, &tensors(), &metadata).unwrap();
            fs_err::write(&path, bytes).unwrap();
        };
        put(
            FIRST_KEY,
            r#"{"step":7,"epoch":1,"step_in_epoch":2,"loss_sum":0.5,"best":null,
               "train_seconds":12.5,"config_hash":"c"}"#,
        );
        let position = verified(&path).unwrap();
        assert_eq!((position.step, position.step_in_epoch), (7, 2));
        put(KEY, r#"{"format":3,"seal":{}}"#);
        let error = verified(&path).unwrap_err();
        assert!(error.to_string().contains("format 3"), "{error}");
        assert!(error.remedy().is_some());
        put("other", "x");
        let error = verified(&path).unwrap_err().to_string();
        assert!(error.contains("is not a checkpoint"), "{error}");
        let error = verified(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
