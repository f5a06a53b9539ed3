//! From annotations to batches: label tables, long-tailed splits, samplers, pictures, loader.

pub mod augment;
pub mod cache;
mod class_index;
pub mod coco;
pub mod content;
pub mod folder;
pub mod image;
mod jpeg;
mod json_elements;
mod label_me;
pub mod labels;
pub mod loader;
pub mod longtail;
mod open_images;
pub mod picture;
pub mod replay;
pub mod resize;
pub mod sampler;
pub mod shapes;
pub mod source;
pub mod split;
pub mod stratify;
pub mod table;
pub mod throughput;
pub mod voc;

#[cfg(test)]
mod fuzz;

/// A file of real labels, which the project does not hold: for tests that have `real_data` in their
/// name and are marked `#[ignore = "needs DBLOSS_DATA"]`.
#[cfg(test)]
fn real_data(name: &str) -> std::path::PathBuf {
    let root = std::env::var("DBLOSS_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(root)
        .join(name);
    assert!(path.exists(), "{}: set DBLOSS_DATA", path.display());
    path
}
