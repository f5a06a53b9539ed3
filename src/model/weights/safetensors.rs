//! `.safetensors` files, and models sharded over several of them.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::Place;
use super::stored::{Element, Span, Stored};
use crate::error::{Error, Result};
use crate::io::write_atomic;

/// The longest header that is read, in bytes; the limit of the format's own library.
const MAX_HEADER: u64 = 100_000_000;

/// Returns true if `head`, the beginning of a file, is a length followed by a JSON header.
pub(super) fn is_it(head: &[u8]) -> bool {
    match head {
        [_, _, _, _, _, _, _, highest, json @ ..] => {
            *highest == 0 && json.trim_ascii_start().starts_with(b"{")
        }
        _ => false,
    }
}

/// Returns the header of a file, the length of the header in bytes (without the length field), and
/// the length of the file.
fn header(place: &Place) -> Result<(Metadata, u64, u64)> {
    let path = place.path();
    let (mut file, whole) = place.open()?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > whole - 8 {
        return Err(broken(
            path,
            format!("its header should have {length} bytes, but the file has only {whole}"),
        ));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header = serde_json::from_slice(&header)
        .map_err(|e| broken(path, format!("its header is wrong: {e}")))?;
    Ok((header, length, whole))
}

fn broken(path: &Path, problem: String) -> Error {
    Error::file(
        path,
        format_args!("is a damaged safetensors file: {problem}"),
    )
    .hint("copy or download it again")
}

/// Returns the metadata of a file without reading its tensors.
///
/// # Errors
/// If the file cannot be read or is not a safetensors file.
pub fn metadata(path: &Path) -> Result<HashMap<String, String>> {
    let (header, ..) = header(&Place::from(path))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// Serializes tensors with metadata; the metadata is written in the order of its keys, so that the
/// bytes are the same every time. `path` is named in errors.
///
/// # Errors
/// If a tensor cannot be read back from its device.
pub fn to_bytes(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let cannot = |problem: String| Error::file(path, format!("cannot be written: {problem}"));
    let tensors = tensors.iter().map(|(name, tensor)| (name, tensor));
    let bytes = safetensors::serialize(tensors, None).map_err(|e| cannot(e.to_string()))?;
    // The library writes metadata in random order, so it is inserted here.
    let told = serde_json::to_string(metadata).map_err(|e| cannot(e.to_string()))?;
    let (length, rest) =
        (bytes.split_first_chunk()).ok_or_else(|| cannot("there is no header".to_owned()))?;
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let tensors = header.trim_ascii().strip_prefix(b"{").unwrap_or_default();
    let mut header = format!("{{\"__metadata__\":{told}").into_bytes();
    if tensors != b"}" {
        header.push(b',');
    }
    header.extend(tensors);
    // The data start at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length[..], &header, data].concat())
}

/// Writes tensors with one metadata entry, `(key, text)`.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, tensors: &[(String, Tensor)], metadata: (&str, String)) -> Result<()> {
    let metadata = BTreeMap::from([(metadata.0.to_owned(), metadata.1)]);
    let bytes = to_bytes(path, tensors, &metadata)?;
    write_atomic(path, |writer| Ok(writer.write_all(&bytes)?))
}

/// Returns the metadata of a file under `key`; `what` describes the file expected.
///
/// # Errors
/// If the file is not such a file, or has no metadata under this key.
pub fn told(path: &Path, key: &str, what: &str) -> Result<String> {
    let stranger = || Error::file(path, format_args!("is not {what}"));
    let metadata = metadata(path).map_err(|_| stranger())?;
    metadata.get(key).cloned().ok_or_else(stranger)
}

/// Returns the tensors of a file, in the file's order.
pub(super) fn read(place: &Place) -> Result<Vec<(String, Stored)>> {
    let broken = |problem: String| broken(place.path(), problem);
    let (header, length, whole) = header(place)?;
    let mut tensors: Vec<_> = header.tensors().into_iter().collect();
    tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let place = Arc::new(place.clone());
    let data = whole - 8 - length;
    let mut end = 0;
    let mut found = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let size = (info.shape.iter())
            .try_fold(info.dtype.bitsize(), |bits, &side| bits.checked_mul(side))
            .map(|bits| bits as u64 / 8);
        if from < end || to < from {
            return Err(broken(format!("`{name}` overlaps another tensor")));
        }
        if size != Some(to - from) {
            return Err(broken(format!("`{name}` is not as long as its shape says")));
        }
        if to > data {
            return Err(broken(format!(
                "it is cut off: `{name}` ends at byte {to} of the data, but only {data} bytes exist"
            )));
        }
        end = to;
        let stored = Stored {
            shape: info.shape.clone(),
            element: element(info.dtype),
            strides: None,
            first: 0,
            span: Span {
                place: place.clone(),
                offset: 8 + length + from,
                length: to - from,
            },
        };
        found.push((name, stored));
    }
    Ok(found)
}

fn element(kind: Dtype) -> Element {
    match kind {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::BOOL => Element::Other("truth values"),
        Dtype::I8 | Dtype::U8 => Element::Other("integers of 8 bits"),
        Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64 => {
            Element::Other("integers")
        }
        _ => Element::Other("numbers of 8 bits or fewer"),
    }
}

/// The content of an index file: the file that holds each tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the sorted names of the files in an index; all of them must lie beside it.
pub(super) fn shard_names(index: &Path, text: &[u8]) -> Result<Vec<String>> {
    let parsed: Index = serde_json::from_slice(text).map_err(|e| {
        Error::file(index, format_args!("is not an index of weight files: {e}"))
            .hint("expected JSON with `weight_map`, from a tensor's name to its file")
    })?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    // A name must not lead out of the folder.
    let stranger = (names.iter()).find(|name| {
        Path::new(name)
            .file_name()
            .is_none_or(|file| file != name.as_str())
    });
    match stranger {
        Some(name) => {
            let problem = format!("names `{name}`, expected a file beside it");
            Err(Error::file(index, problem))
        }
        None => Ok(names),
    }
}

/// Returns the files in an index, sorted by name.
pub(super) fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let folder = index.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for name in shard_names(index, &fs_err::read(index)?)? {
        let file = folder.join(&name);
        if !file.is_file() {
            return Err(
                Error::file(index, format_args!("names `{name}`, which does not exist"))
                    .hint("download all files of the model into one folder"),
            );
        }
        files.push(file);
    }
    Ok(files)
}

/// Returns the index of a shard such as `model-00001-of-00003.safetensors`, if there is one.
pub(super) fn index_of_shard(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.')?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let index = path.with_file_name(format!("{base}.{ending}.index.json"));
    (number(part) && number(total) && index.is_file()).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_written_is_what_the_library_reads_and_the_same_every_time() {
        let values = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        let metadata: BTreeMap<String, String> = (0..9)
            .map(|i| (format!("key {i}"), format!("text \"{}\"", "é".repeat(i))))
            .collect();
        for count in [0, 1, 3] {
            let tensors: Vec<_> = (0..count)
                .map(|i| (format!("t{i}"), values.clone()))
                .collect();
            let bytes = to_bytes(Path::new("x"), &tensors, &metadata).unwrap();
            assert_eq!(
                to_bytes(Path::new("x"), &tensors, &metadata).unwrap(),
                bytes
            );
            let (length, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
            assert_eq!((length + 8) % 8, 0);
            let told: BTreeMap<_, _> = header.metadata().clone().unwrap().into_iter().collect();
            assert_eq!(told, metadata);
            let read = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(read.len(), count);
            for (name, tensor) in read.tensors() {
                let expected: Vec<u8> = [1f32, 2.0, 3.0]
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect();
                assert_eq!(tensor.data(), expected, "{name}");
            }
        }
    }
}
