//! From annotations to batches: label tables, long-tailed splits, samplers, pictures and the
//! loader.

mod account;
pub mod augment;
pub mod balance;
pub mod cache;
mod class_index;
pub(crate) mod class_name;
pub mod content;
mod delimited;
pub mod formats;
mod glance;
pub mod image;
mod jpeg;
pub mod labels;
pub mod loader;
pub mod longtail;
pub mod npy;
mod parquet_file;
pub mod paths;
pub mod picture;
pub mod picture_hashes;
pub(crate) mod picture_name;
pub mod replay;
pub mod resize;
pub mod sampler;
mod separator;
pub mod shapes;
pub(crate) mod source;
pub mod split;
pub mod stratify;
mod tar;
pub mod throughput;
pub mod walk;

/// Returns the path of a file of real labels, which is not part of the repository. It is for tests
/// that have `real_data` in their name and are marked `#[ignore = "needs DBLOSS_DATA"]`.
#[cfg(test)]
fn real_data(name: &str) -> std::path::PathBuf {
    let root = std::env::var("DBLOSS_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(root)
        .join(name);
    assert!(path.exists(), "{}: set DBLOSS_DATA", path.display());
    path
}
