//! Released lists of image ids.

use std::collections::HashMap;
use std::path::Path;

use crate::data::labels::LabelTable;
use crate::data::picture_name::{clean, without_ending};
use crate::error::{Error, Result};
use crate::text;
use crate::wording::{counted, first_named, is_or_are};

/// Maps each name that a list may use to an image of the pool; `None` if several images share it.
struct Names<'a>(HashMap<&'a str, Option<usize>>);

impl<'a> Names<'a> {
    /// An image can be referred to by its full name or by its file name, each with or without the
    /// extension.
    fn of(pool: &'a LabelTable) -> Self {
        let mut names: HashMap<&str, Option<usize>> = HashMap::new();
        let mut add = |name: &'a str, image: usize| {
            (names.entry(name))
                .and_modify(|known| {
                    if *known != Some(image) {
                        *known = None;
                    }
                })
                .or_insert(Some(image));
        };
        for (i, image) in pool.images().iter().enumerate() {
            let file = image.rsplit('/').next().unwrap_or(image);
            for name in [image, file] {
                add(name, i);
                add(without_ending(name), i);
            }
        }
        // A full name always refers to its own image, whatever the short names of others are.
        for (i, image) in pool.images().iter().enumerate() {
            names.insert(image, Some(i));
        }
        Names(names)
    }
}

/// Finds the pool's images that a released list names, in the order of the list. An id that
/// includes a folder or an extension only matches an image that has the same one.
pub(super) fn find_ids(file: &Path, pool: &LabelTable) -> Result<Vec<usize>> {
    let text = text::read(file)?;
    let names = Names::of(pool);
    let mut images = Vec::new();
    let mut unknown = Vec::new();
    let mut first_line = HashMap::new();
    for (line, text) in text::lines(&text).filter(|(_, text)| !text.trim().is_empty()) {
        let id = clean(text).map_err(|problem| Error::line(file, line, problem))?;
        match names.0.get(id.as_ref()) {
            Some(Some(image)) => {
                if let Some(first) = first_line.insert(*image, line) {
                    let problem = format_args!("id `{id}` is already on line {first}");
                    return Err(Error::line(file, line, problem));
                }
                images.push(*image);
            }
            Some(None) => {
                let problem = format_args!("id `{id}` stands for several images");
                return Err(Error::line(file, line, problem)
                    .hint("write the images' names as in the annotations"));
            }
            None => unknown.push((line, id.into_owned())),
        }
    }
    if let Some((line, _)) = unknown.first() {
        let names = first_named(unknown.iter().map(|(_, id)| id.as_str()));
        let problem = format_args!(
            "{} {} not in the annotations (the first on line {line}): {names}",
            counted(unknown.len(), "id"),
            is_or_are(unknown.len())
        );
        return Err(Error::file(file, problem)
            .hint("name the annotations that the list was drawn from; an id with a folder or an ending stands for that file only"));
    }
    if images.is_empty() {
        return Err(Error::file(file, "the list names no images"));
    }
    Ok(images)
}
