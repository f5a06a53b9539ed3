//! The embedded set.

use serde::{Deserialize, Serialize};

use super::format::{ChangePath, Format, Info, Loaded, OptionValue, option};
use crate::data::account::Account;
use crate::data::image::ImageRoot;
use crate::data::shapes;
use crate::error::{KeyPath, Result};
use crate::range::Range;

/// The embedded set, drawn by the program itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shapes {
    /// Seed of the pictures.
    #[serde(default)]
    pub seed: u64,
    /// Pictures in the pool.
    #[serde(default = "pool_size")]
    pub pool_size: usize,
    /// Pictures in the test set.
    #[serde(default = "test_size")]
    pub test_size: usize,
    /// Side of the drawn pictures, in pixels.
    #[serde(default = "side")]
    pub side: u32,
}

fn pool_size() -> usize {
    4000
}
fn test_size() -> usize {
    1500
}
fn side() -> u32 {
    80
}

impl Format for Shapes {
    const INFO: Info = Info {
        sources: &[option(
            "shapes",
            "kind",
            OptionValue::Nothing,
            "The embedded data set of drawn shapes",
        )],
        options: &[
            option(
                "shapes-seed",
                "seed",
                OptionValue::Whole("N"),
                "Shapes: seed of the pictures [default: 0]",
            ),
            option(
                "pool-size",
                "pool_size",
                OptionValue::Whole("N"),
                "Shapes: pictures in the pool [default: 4000]",
            ),
            option(
                "test-size",
                "test_size",
                OptionValue::Whole("N"),
                "Shapes: pictures in the test set [default: 1500]",
            ),
            option(
                "side",
                "side",
                OptionValue::Whole("PIXELS"),
                "Shapes: side of the pictures, in pixels [default: 80]",
            ),
        ],
        as_is: false,
    };

    fn load(&self) -> Result<Loaded> {
        let (seed, size) = (self.seed, self.side);
        let (pool, test) = shapes::label_tables(seed, self.pool_size, self.test_size);
        let root = ImageRoot::Shapes { seed, size };
        Ok(Loaded {
            pool,
            test: Some(test),
            train_root: root.clone(),
            test_root: root,
            account: Account::default(),
        })
    }

    fn each_path(&mut self, _: ChangePath) {}

    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(0, i64::MAX).check_whole(&at.join("seed"), self.seed)?;
        let (least, most) = (shapes::MIN_SIZE.into(), shapes::MAX_SIZE.into());
        Range::WholeWithin(least, most).check_whole(&at.join("side"), self.side)
    }

    fn has_test(&self) -> bool {
        true
    }
}
