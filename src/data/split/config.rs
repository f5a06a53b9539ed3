//! The settings of a split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::account::first_named;
use crate::data::formats::{Shapes, Source};
use crate::data::labels::GroupThresholds;
use crate::data::longtail::{Pareto, exponential_counts};
use crate::data::shapes;
use crate::error::{Error, Result};

/// How a split is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// Seed of every draw.
    #[serde(default)]
    pub seed: u64,
    /// Images held out of the training set for validation, by iterative stratification: a part of
    /// it if below 1, else a number of images. 0: none.
    #[serde(default)]
    pub validation: f64,
    /// What validation images are taken from.
    #[serde(default)]
    pub validation_from: ValidationFrom,
    /// Images of the pool set apart as the test set, by iterative stratification, where the source
    /// has no test set: a part if below 1, else a number. 0: none.
    #[serde(default)]
    pub test: f64,
    /// No class is wanted more often than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_class: Option<usize>,
    /// No class is wanted less often than this (there may be fewer images).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_per_class: Option<usize>,
    /// No image is removed if one of its classes would fall below this; 0 is the published way.
    #[serde(default)]
    pub keep_at_least: usize,
    /// What to do about classes without any image in the pool.
    #[serde(default)]
    pub empty_classes: EmptyClasses,
    /// Accept images that are in the training and in the test set.
    #[serde(default)]
    pub allow_overlap: bool,
    /// Where images and labels come from.
    pub source: Source,
    /// How many images each class shall have.
    #[serde(default)]
    pub distribution: Distribution,
    /// Bounds of head, medium and tail.
    #[serde(default)]
    pub groups: GroupThresholds,
}

/// The wanted number of training images a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// The published curve, see [`Pareto`].
    Pareto(Pareto),
    /// Exponential fall (Cui et al. 2019), see [`exponential_counts`].
    Exponential {
        /// Wanted images of the first class.
        max: usize,
        /// Largest over smallest wanted count.
        imbalance_factor: f64,
    },
    /// A number for each place in the order of the classes by summed conditional probability.
    Counts {
        /// Wanted images, the most common class first.
        counts: Vec<usize>,
    },
    /// A number for each class by name.
    ClassCounts {
        /// Wanted images a class; every class needs one.
        counts: BTreeMap<String, usize>,
    },
    /// The pool as it is.
    AsIs {},
    /// The images of a list, in its order: a released benchmark.
    Ids {
        /// One image id (name, or file name without folder and ending) a line.
        file: PathBuf,
    },
    /// A released benchmark list rebuilt from the annotations alone.
    Released {
        /// Which one.
        recipe: Preset,
    },
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution::Pareto(Pareto::default())
    }
}

/// The published benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// VOC-MLT: VOC2012 trainval, at most 800 images a class.
    VocMlt,
    /// COCO-MLT: COCO train2017, at most 1200 images a class.
    CocoMlt,
}

impl Preset {
    /// The benchmark's wanted counts.
    pub fn pareto(self) -> Pareto {
        let max = match self {
            Preset::VocMlt => 800,
            Preset::CocoMlt => 1200,
        };
        Pareto {
            max,
            ..Pareto::default()
        }
    }
}

/// What validation images are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationFrom {
    /// The drawn training set, which gets smaller by them.
    #[default]
    Train,
    /// The images of the pool that were not drawn: the training set stays whole, and the
    /// validation set is not long-tailed by construction.
    Rest,
}

/// What to do about classes without any image in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyClasses {
    /// Refuse to build the split.
    #[default]
    Error,
    /// Take them out of the class list; test labels of them are dropped.
    Drop,
    /// Keep them, with a training count of 0.
    Keep,
}

impl SplitConfig {
    /// A configuration with all defaults and seed 0: people's own data as it is, the sources of
    /// the published benchmarks by the curve of VOC-MLT.
    pub fn new(source: Source) -> Self {
        SplitConfig {
            seed: 0,
            validation: 0.0,
            validation_from: ValidationFrom::default(),
            test: 0.0,
            max_per_class: None,
            min_per_class: None,
            keep_at_least: 0,
            empty_classes: EmptyClasses::default(),
            allow_overlap: false,
            distribution: match source.info().as_is {
                true => Distribution::AsIs {},
                false => Distribution::default(),
            },
            source,
            groups: GroupThresholds::default(),
        }
    }

    /// Reads a configuration from a TOML file; relative paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::data::text::read(path)?;
        let mut config: SplitConfig = parse_toml(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.resolve(folder);
        Ok(config)
    }

    /// Makes relative paths relative to `folder`: that of the file which names them.
    pub fn resolve(&mut self, folder: &Path) {
        self.source.resolve(folder);
        if let Distribution::Ids { file } = &mut self.distribution {
            *file = folder.join(&*file);
        }
    }

    /// Refuses values out of range, naming the key.
    pub fn check(&self) -> Result<()> {
        let thresholds = &self.groups;
        if thresholds.head < thresholds.medium {
            return Err(Error::input(
                "groups.head",
                format_args!(
                    "`{}` is below `groups.tail` = `{}`",
                    thresholds.head, thresholds.medium
                ),
            ));
        }
        if let Source::Shapes(Shapes { side, .. }) = self.source {
            let range = shapes::MIN_SIZE..=shapes::MAX_SIZE;
            if !range.contains(&side) {
                let problem = format!(
                    "`{side}`, expected {} to {} pixels",
                    shapes::MIN_SIZE,
                    shapes::MAX_SIZE
                );
                return Err(Error::input("source.side", problem));
            }
        }
        for (key, amount) in [("validation", self.validation), ("test", self.test)] {
            let whole_or_part = amount < 1.0 || amount.fract() == 0.0;
            if !(amount >= 0.0 && amount.is_finite() && whole_or_part) {
                return Err(Error::input(
                    key,
                    format_args!("`{amount}`, expected a part in [0, 1) or a number of images"),
                ));
            }
        }
        if let (Some(min), Some(max)) = (self.min_per_class, self.max_per_class) {
            crate::data::longtail::check_bounds("max_per_class", min, max)?;
        }
        let fixed = matches!(
            self.distribution,
            Distribution::AsIs {} | Distribution::Ids { .. } | Distribution::Released { .. }
        );
        let limits =
            self.max_per_class.is_some() || self.min_per_class.is_some() || self.keep_at_least > 0;
        if fixed && limits {
            return Err(Error::input(
                "distribution",
                "this one fixes the images, so `max_per_class`, `min_per_class` and `keep_at_least` have no effect",
            )
            .hint("leave them out, or choose `pareto`, `exponential`, `counts` or `class-counts`"));
        }
        Ok(())
    }

    /// The wanted counts by place in the order of the classes; `None` where the distribution
    /// wants none. `order` is the construction's, with class names, for counts given by class.
    pub fn reference_counts(
        &self,
        num_classes: usize,
        order: &[&str],
    ) -> Result<Option<Vec<usize>>> {
        let mut counts = match &self.distribution {
            Distribution::Pareto(pareto) => pareto.counts(num_classes)?,
            Distribution::Exponential {
                max,
                imbalance_factor,
            } => exponential_counts(num_classes, *max, *imbalance_factor)?,
            Distribution::Counts { counts } => {
                if counts.len() != num_classes {
                    let problem = format!(
                        "{} numbers, but there are {num_classes} classes",
                        counts.len()
                    );
                    return Err(Error::input("distribution.counts", problem));
                }
                counts.clone()
            }
            Distribution::ClassCounts { counts } => by_class(counts, order)?,
            Distribution::Released { recipe } => recipe.pareto().counts(num_classes)?,
            Distribution::AsIs {} | Distribution::Ids { .. } => return Ok(None),
        };
        for count in &mut counts {
            *count = (*count)
                .max(self.min_per_class.unwrap_or(0))
                .min(self.max_per_class.unwrap_or(usize::MAX));
        }
        Ok(Some(counts))
    }
}

fn by_class(counts: &BTreeMap<String, usize>, order: &[&str]) -> Result<Vec<usize>> {
    let unknown: Vec<&str> = (counts.keys().map(String::as_str))
        .filter(|name| !order.contains(name))
        .collect();
    if !unknown.is_empty() {
        let names = first_named(unknown);
        return Err(Error::input(
            "distribution.counts",
            format_args!("unknown classes: {names}"),
        ));
    }
    let missing: Vec<&str> = (order.iter().copied())
        .filter(|&name| !counts.contains_key(name))
        .collect();
    if !missing.is_empty() {
        let names = first_named(missing);
        return Err(Error::input(
            "distribution.counts",
            format_args!("no count for {names}"),
        ));
    }
    Ok(order
        .iter()
        .filter_map(|&name| counts.get(name).copied())
        .collect())
}

/// Parses TOML, with file and line in errors.
pub(super) fn parse_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| match e.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            Error::line(path, before.matches('\n').count() as u64 + 1, e.message())
        }
        None => Error::file(path, e.message()),
    })
}
