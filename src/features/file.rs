//! The file format for features: the numbers, their description, and a hash of both.
//!
//! `f32` numbers, little-endian, `[versions, images, form]`; a description in JSON; its length in
//! eight bytes; the blake3 hash of all that; an eight-byte magic number.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::table::FeatureTable;
use crate::data::loader::Form;
use crate::error::Result;
use crate::io;
use crate::ops::MappedFile;

/// The magic number at the end of a file; it changes with the layout.
const MAGIC: [u8; 8] = *b"dblossF1";

/// Size of the length, the hash and the magic number.
const TRAILER: usize = 8 + 32 + 8;

/// The description of the numbers in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// The hash of everything that they depend on.
    pub key: String,
    /// Shape of the features of an image: `[width]`, or `[rows, columns, width]`.
    pub shape: Vec<usize>,
    /// Number of versions of each image.
    pub versions: usize,
    /// Number of images.
    pub images: usize,
    /// Images whose pictures cannot be read; their features are zeros.
    pub missing: Vec<u32>,
}

impl Description {
    fn form(&self) -> Option<Form> {
        match self.shape[..] {
            [width] => Some(Form::Pooled { width }),
            [rows, columns, width] => Some(Form::Maps {
                rows,
                columns,
                width,
            }),
            _ => None,
        }
    }

    /// Returns the number of bytes of the numbers, or `None` if it overflows.
    fn bytes(&self) -> Option<usize> {
        let mut sizes = self.shape.iter().chain([&self.versions, &self.images]);
        sizes.try_fold(4usize, |product, &size| product.checked_mul(size))
    }
}

/// Writes a file. `fill` writes the numbers and returns their description.
pub(super) fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<()>) -> Result<Description>,
) -> Result<()> {
    io::write_cached(path, |writer| {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        let description = fill(&mut |numbers| {
            bytes.clear();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            hasher.update(&bytes);
            Ok(writer.write_all(&bytes)?)
        })?;
        let mut end = serde_json::to_vec(&description).map_err(std::io::Error::other)?;
        let length = end.len() as u64;
        end.extend(length.to_le_bytes());
        hasher.update(&end);
        writer.write_all(&end)?;
        writer.write_all(hasher.finalize().as_bytes())?;
        Ok(writer.write_all(&MAGIC)?)
    })
}

/// Opens the file for `key`. The error says what is wrong with it.
pub(super) fn read(path: &Path, key: &str) -> Result<FeatureTable, String> {
    let file = fs_err::File::open(path).map_err(|e| e.to_string())?;
    let map = MappedFile::new(file.file()).map_err(|e| e.to_string())?;
    let (description, form) = check(map.bytes())?;
    if description.key != key {
        return Err("contains other features than its name says".to_owned());
    }
    let Description {
        versions,
        images,
        missing,
        ..
    } = description;
    Ok(FeatureTable::mapped(form, versions, images, &missing, map))
}

/// Verifies the bytes of a file and returns its description.
fn check(bytes: &[u8]) -> Result<(Description, Form), String> {
    let stranger = || "is not a file of features, or is incomplete".to_owned();
    let at = bytes.len().checked_sub(TRAILER).ok_or_else(stranger)?;
    let (length, rest) = bytes[at..].split_first_chunk::<8>().ok_or_else(stranger)?;
    let (hash, magic) = rest.split_first_chunk::<32>().ok_or_else(stranger)?;
    if magic != MAGIC {
        return Err(stranger());
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| stranger())?;
    let begins = at.checked_sub(length).ok_or_else(stranger)?;
    if blake3::hash(&bytes[..at + 8]).as_bytes() != hash {
        return Err("is damaged: its bytes do not match the hash at its end".to_owned());
    }
    let description: Description =
        serde_json::from_slice(&bytes[begins..at]).map_err(|_| stranger())?;
    let form = description.form().ok_or_else(stranger)?;
    match description.bytes() == Some(begins) {
        true => Ok((description, form)),
        false => Err(stranger()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_no_damaged_or_strange_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.features");
        let numbers: Vec<f32> = (0..2 * 3 * 4).map(|i| i as f32 / 7.0).collect();
        write(&path, |put| {
            put(&numbers[..5])?;
            put(&numbers[5..])?;
            Ok(Description {
                key: "k".into(),
                shape: vec![4],
                versions: 2,
                images: 3,
                missing: vec![1],
            })
        })
        .unwrap();
        let table = read(&path, "k").unwrap();
        assert_eq!((table.versions(), table.len(), table.width()), (2, 3, 4));
        assert_eq!(
            [0, 1, 2, 3].map(|i| table.has(i)),
            [true, false, true, false]
        );
        let mut found = Vec::new();
        table.append(1, 2, &mut found);
        assert_eq!(found, numbers[20..]);
        table.append(2, 0, &mut found);
        assert_eq!(found.len(), 4);

        assert!(read(&path, "other").unwrap_err().contains("other features"));
        let whole = fs_err::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            assert!(read(&path, "k").is_err());
        };
        (0..whole.len()).for_each(|cut| refused(&whole[..cut]));
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 4;
            refused(&bent);
        }
    }
}
