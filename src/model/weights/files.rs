//! Detects the format of a weight file from its bytes, and the files that belong to a model.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::stored::Stored;
use super::{Place, safetensors, torch};
use crate::data::content;
use crate::error::{Error, Result};

/// Reads the tensors of a file, or of all files of a sharded model, which may be given as a shard,
/// its index or a folder.
pub(super) fn open(place: &Place) -> Result<Vec<(String, Stored)>> {
    let path = match place {
        Place::Disk(path) => path,
        Place::Embedded(_) => return safetensors::read(place),
    };
    let mut tensors = Vec::new();
    for file in files(path)? {
        tensors.extend(open_one(&file)?);
    }
    Ok(tensors)
}

/// Returns the files that a path stands for.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return files(&in_folder(path)?);
    }
    let is_index = (path.to_str()).is_some_and(|name| name.ends_with(".index.json"));
    match safetensors::index_of_shard(path) {
        _ if is_index => safetensors::shards(path),
        Some(index) => safetensors::shards(&index),
        None => Ok(vec![path.to_owned()]),
    }
}

/// Usual file names of saved models, in order of preference.
const USUAL: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Extensions of files that may hold weights; the format is detected from the bytes.
pub(super) const ENDINGS: [&str; 6] = ["safetensors", "pth", "pt", "bin", "ckpt", "tar"];

/// Returns true for a name with one of those extensions.
pub(super) fn has_ending(path: &Path) -> bool {
    (path.extension()).is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn in_folder(folder: &Path) -> Result<PathBuf> {
    if let Some(file) = USUAL
        .iter()
        .map(|name| folder.join(name))
        .find(|f| f.is_file())
    {
        return Ok(file);
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && has_ending(&path) {
            files.push(path);
        }
    }
    files.sort();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        [] => Err(Error::file(folder, "the folder contains no weight file")
            .hint("expected `model.safetensors` or another file of weights")),
        [first, second, ..] => Err(Error::file(
            folder,
            format_args!(
                "the folder contains {} weight files, for example {} and {}",
                files.len(),
                first.display(),
                second.display()
            ),
        )
        .hint("name one of them")),
    }
}

fn open_one(path: &Path) -> Result<Vec<(String, Stored)>> {
    let mut head = Vec::new();
    fs_err::File::open(path)?.take(512).read_to_end(&mut head)?;
    if head.starts_with(b"PK\x03\x04") {
        return torch::read_zip(path);
    }
    if head.starts_with(torch::LEGACY) {
        return torch::read_legacy(path);
    }
    if safetensors::is_it(&head) {
        return safetensors::read(&Place::from(path));
    }
    let expected = "expected safetensors, or what `torch.save` writes";
    Err(match (content::of(&head), &head[..]) {
        (_, [0x80, 2..=5, ..]) => Error::file(
            path,
            "is a Python pickle, but not one that `torch.save` wrote",
        )
        .hint("load it in Python and save its tensors: `torch.save(state_dict, ...)`"),
        (Some(found), _) => Error::file(path, format_args!("is {}, {expected}", found.what)).hint(
            found.remedy.unwrap_or(match found.what {
                what if what.starts_with("compressed") || what.ends_with("archive") => {
                    "unpack it first"
                }
                _ => "give another file as `model.weights`",
            }),
        ),
        (None, _) => Error::file(path, format_args!("is not a weight file, {expected}"))
            .hint("give another file as `model.weights`"),
    })
}
