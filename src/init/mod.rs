//! Proposes a first experiment for a user's own pictures: detects the kind of source, examines its
//! contents, and writes a file with suitable settings and the reasons for them.

mod advice;
mod detect;
mod file;

use std::path::Path;

use image::image_dimensions;

use crate::data::formats::{Loaded, Source};
use crate::data::split::{Distribution, Set, Split, SplitConfig};
use crate::error::Result;

pub use advice::{Advice, Situation, parts};
pub use detect::{Found, detect};
pub use file::text;

/// The findings about a source, and the settings derived from them.
#[derive(Debug)]
pub struct Proposal {
    /// The source.
    pub source: Source,
    /// How the split is made from it.
    pub split: SplitConfig,
    /// The recommended settings.
    pub advice: Advice,
    /// The findings, one sentence each.
    pub seen: Vec<String>,
    /// What the user should check before training, one sentence each.
    pub doubts: Vec<String>,
}

/// Maximum number of pictures whose size is examined.
const LOOKED_AT: usize = 16;

impl Proposal {
    /// Reads the whole source and proposes settings for it. `seen` is what is already known about
    /// the source; `has_gpu` says whether training will use a GPU.
    ///
    /// # Errors
    /// Returns an error if the source cannot be read or no split can be made from it.
    pub fn new(source: Source, seen: Vec<String>, has_gpu: bool) -> Result<Self> {
        let loaded = source.load()?;
        let mut seen = seen;
        seen.extend(sentences(&loaded));
        let side = usual_side(&loaded);
        let mut split = SplitConfig::new(source.clone());
        split.distribution = Distribution::AsIs {};
        (split.validation, split.test) = parts(loaded.pool.len(), loaded.test.is_some());
        loaded.account.report();
        let built = Split::from_loaded(&split, loaded)?;
        let advice = Advice::new(&Situation {
            images: built.train.len(),
            counts: built.train.class_counts(),
            side,
            has_gpu,
        });
        split.groups = advice.groups;
        let mut doubts = Vec::new();
        doubts.extend(built.check_pictures(&Set::ALL).problem());
        doubts.extend(advice.doubts.iter().cloned());
        Ok(Proposal {
            source,
            split,
            advice,
            seen,
            doubts,
        })
    }
}

/// Describes the contents of a source in sentences.
fn sentences(loaded: &Loaded) -> Vec<String> {
    let (pool, counts) = (&loaded.pool, loaded.pool.class_counts());
    let mut found = vec![format!(
        "{} pictures with {} labels of {} classes: {}",
        pool.len(),
        pool.num_labels(),
        pool.num_classes(),
        crate::wording::first_named(pool.classes().iter().map(String::as_str))
    )];
    let order = |which: Option<(usize, &usize)>| {
        which.map_or(String::new(), |(class, count)| {
            format!("`{}` ({count})", pool.classes()[class])
        })
    };
    let classes = || counts.iter().enumerate();
    found.push(format!(
        "most pictures: {}; fewest: {}",
        order(classes().rev().max_by_key(|(_, count)| **count)),
        order(classes().min_by_key(|(_, count)| **count))
    ));
    found.push(match &loaded.test {
        Some(test) => format!("{} pictures in the test set", test.len()),
        None => "no test set: part of the pictures is set apart for it".to_owned(),
    });
    found
}

/// Returns the median of the longer sides of the first pictures, in pixels; `None` if none can be
/// read.
fn usual_side(loaded: &Loaded) -> Option<u32> {
    let names = loaded.pool.images().iter().take(LOOKED_AT);
    let files = names.filter_map(|name| loaded.train_root.file(name));
    let sides = files.filter_map(|file| image_dimensions(file).ok());
    let mut sides: Vec<u32> = sides.map(|(width, height)| width.max(height)).collect();
    sides.sort_unstable();
    sides.get(sides.len() / 2).copied()
}

/// Derives a valid experiment name from the name of `path`.
pub fn name_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stem = match path.is_dir() {
        true => path.file_name(),
        false => path.file_stem(),
    };
    let stem = stem.unwrap_or_default().to_string_lossy();
    let name: String = (stem.chars())
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .collect();
    match name.trim_matches('-') {
        "" => "mine".to_owned(),
        name => name.to_lowercase(),
    }
}
