//! Rebuilds released benchmark lists from annotations alone.
//!
//! The VOC-MLT list was drawn by a Python program: `random.seed(0)`, and for each class
//! `random.sample` over the tuple of a set of image numbers. The random numbers are the public
//! behaviour of MT19937, and the order of a set of small integers is fixed by CPython's hash table,
//! so the list follows from the labels in their published order.
//!
//! The COCO-MLT list continued the same stream of random numbers. Its labels in the released order
//! were not available, so its replay is unverified.

mod int_set;
mod mt19937;

use crate::data::labels::LabelTable;
use crate::data::longtail::{self, Step, Subset};
use crate::error::{Error, Result};

pub use int_set::IntSet;
pub use mt19937::PythonRandom;

/// The number of 32-bit words that the replay of VOC-MLT consumes, after which COCO-MLT begins.
pub const VOC_MLT_WORDS: usize = 3481;

/// Number of images in VOC2012 trainval and in COCO train2017.
const VOC_IMAGES: usize = 11_540;
const COCO_IMAGES: usize = 118_287;

/// Rebuilds the released VOC-MLT list from the labels of VOC2012 trainval (11,540 images in the
/// order of `ImageSets/Main/trainval.txt`, all objects counted): 1,142 images in the released
/// order.
pub fn voc_mlt(pool: &LabelTable) -> Result<Subset> {
    expect_pool(pool, VOC_IMAGES, 20, "VOC2012 trainval")?;
    let mut random = PythonRandom::new(0);
    draw(
        pool,
        &super::split::Preset::VocMlt.pareto().counts(20)?,
        &mut random,
    )
}

/// Rebuilds COCO-MLT from the labels of COCO train2017 (118,287 images in file order). Unverified.
pub fn coco_mlt(pool: &LabelTable) -> Result<Subset> {
    expect_pool(pool, COCO_IMAGES, 80, "COCO train2017")?;
    let mut random = PythonRandom::new(0);
    for _ in 0..VOC_MLT_WORDS {
        random.next_u32();
    }
    draw(
        pool,
        &super::split::Preset::CocoMlt.pareto().counts(80)?,
        &mut random,
    )
}

fn expect_pool(pool: &LabelTable, images: usize, classes: usize, name: &str) -> Result<()> {
    if (pool.len(), pool.num_classes()) == (images, classes) {
        return Ok(());
    }
    Err(Error::key(
        "split.distribution.recipe",
        format_args!(
            "the pool has {} images and {} classes, the released list was drawn from {name} with {images} and {classes}",
            pool.len(),
            pool.num_classes()
        ),
    )
    .hint("use `--like` for the same construction on other images"))
}

/// Performs the construction as it was done for the released lists: each class has a set of its
/// selected images, which changes as images are added and removed.
fn draw(pool: &LabelTable, wanted: &[usize], random: &mut PythonRandom) -> Result<Subset> {
    let of_class = pool.images_by_class();
    let mut selected = IntSet::default();
    let mut selected_of: Vec<IntSet> = vec![IntSet::default(); pool.num_classes()];
    let mut steps = Vec::new();
    for (class, &wanted) in longtail::class_order(pool).into_iter().zip(wanted) {
        let have = selected_of[class].len();
        steps.push(Step {
            class,
            selected: have,
            wanted,
        });
        if have < wanted {
            let all: IntSet = of_class[class].iter().copied().collect();
            let left = all.difference(&selected_of[class]);
            for image in random.sample_set(&left, left.len().min(wanted - have)) {
                selected.add(image);
                for &c in pool.labels(image as usize) {
                    selected_of[c as usize].add(image);
                }
            }
        } else {
            for image in random.sample_set(&selected_of[class], have - wanted) {
                selected.discard(image);
                for &c in pool.labels(image as usize) {
                    selected_of[c as usize].discard(image);
                }
            }
        }
    }
    Ok(Subset {
        images: selected.iter().map(|i| i as usize).collect(),
        steps,
    })
}

#[cfg(test)]
mod tests;
