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
pub mod sheet;
pub mod source;
pub mod split;
pub mod stratify;
pub mod table;
pub mod throughput;
pub mod voc;

#[cfg(test)]
mod fuzz;
