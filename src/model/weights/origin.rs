//! What `model.weights` may name.

use std::path::Path;

use super::embedded::Embedded;
use super::{Place, files, hub};
use crate::error::{Error, Result};

/// What weights may come from, as a text names it.
pub(super) enum Origin<'a> {
    /// `embedded:name`: weights that the program holds.
    Embedded(&'a str),
    /// `organisation/name`, with `@revision` if wanted, and without the ending of a weight file.
    Hub(hub::Model),
    /// A file or folder. A folder of two parts is written `./folder/name`.
    Path,
}

impl<'a> Origin<'a> {
    /// Tells the origins apart by the text alone.
    pub(super) fn of(source: &'a str) -> Self {
        if let Some(name) = source.strip_prefix(Embedded::PREFIX) {
            return Origin::Embedded(name);
        }
        match hub::Model::parse(source) {
            Some(model) if !files::has_ending(Path::new(source)) => Origin::Hub(model),
            _ => Origin::Path,
        }
    }
}

/// Whether a text in `model.weights` is a path, which is relative to the file that names it; false
/// for a name of the hub or of embedded weights.
pub fn is_path(source: &str) -> bool {
    matches!(Origin::of(source), Origin::Path)
}

/// Finds the weights: a local file or folder, a hub name such as `timm/resnet50.tv_in1k`, with
/// a revision if wanted (`timm/resnet50.tv_in1k@main`), which is fetched once and cached, or
/// embedded ones (`embedded:shapes`).
///
/// # Errors
/// If there is neither such a file nor a model of that name, or the hub refuses it.
pub fn locate(source: &str) -> Result<Place> {
    let path = Path::new(source);
    if path.exists() {
        return Ok(Place::from(path));
    }
    match Origin::of(source) {
        Origin::Hub(model) => Ok(Place::Disk(model.fetch()?)),
        Origin::Embedded(name) => Embedded::named(name).map(Place::Embedded),
        Origin::Path => Err(Error::input(source, "no such weight file").hint(
            "give a file of weights, or a hub name such as `timm/resnet50.tv_in1k`; \
             without `model.weights` the backbone starts from random numbers",
        )),
    }
}
