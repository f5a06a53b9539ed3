//! The values that `model.weights` accepts.

use std::path::Path;

use super::embedded::Embedded;
use super::{Place, files, hub};
use crate::error::{Error, Result};

/// The origin of weights, as given by a text.
pub(super) enum Origin<'a> {
    /// `embedded:name`: weights embedded in the program.
    Embedded(&'a str),
    /// `organisation/name`, optionally with `@revision`, and without the extension of a weight
    /// file.
    Hub(hub::Model),
    /// A file or folder. A folder path of two components is written `./folder/name`.
    Path,
}

impl<'a> Origin<'a> {
    /// Determines the origin from the text alone.
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

/// Returns whether a value of `model.weights` is a path, which is relative to the file that
/// contains it; false for a name on the hub or of embedded weights.
pub fn is_path(source: &str) -> bool {
    matches!(Origin::of(source), Origin::Path)
}

/// Locates weights: a local file or folder; a hub name such as `timm/resnet50.tv_in1k`, optionally
/// with a revision (`timm/resnet50.tv_in1k@main`), which is downloaded once and cached; or embedded
/// weights (`embedded:shapes`).
///
/// # Errors
/// If there is neither such a file nor a model of that name, or the hub refuses the request.
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
