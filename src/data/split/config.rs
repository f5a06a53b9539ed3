//! The settings of a split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::formats::Source;
use crate::data::labels::GroupThresholds;
use crate::data::longtail::{self, Pareto, exponential_counts};
use crate::error::{Error, KeyPath, Place, Result};
use crate::io::absolute;
use crate::layers::Layers;
use crate::range::Range;
use crate::wording::first_named;

/// How a split is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// Seed of all random draws.
    #[serde(default)]
    pub seed: u64,
    /// Images held out of the training set for validation, by iterative stratification: a fraction
    /// of it if below 1, otherwise a number of images. 0: none.
    #[serde(default)]
    pub validation: f64,
    /// Where validation images are taken from.
    #[serde(default)]
    pub validation_from: ValidationFrom,
    /// Images of the pool set apart as the test set, by iterative stratification, if the source has
    /// no test set: a fraction if below 1, otherwise a number. 0: none.
    #[serde(default)]
    pub test: f64,
    /// Ask for no more images than this of any class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_class: Option<usize>,
    /// Ask for no fewer images than this of any class (there may not be as many).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_per_class: Option<usize>,
    /// Keep an image if removing it would leave one of its classes with fewer images than this; 0
    /// as published.
    #[serde(default)]
    pub keep_at_least: usize,
    /// What to do about classes that have no image in the pool.
    #[serde(default)]
    pub empty_classes: EmptyClasses,
    /// Accept images that are in both the training and the test set.
    #[serde(default)]
    pub allow_overlap: bool,
    /// Where images and labels come from.
    pub source: Source,
    /// How many images each class should have. By default, your own data are taken as they are, and
    /// the sources of the published benchmarks by the curve of VOC-MLT.
    #[serde(default)]
    pub distribution: Distribution,
    /// Draw as many images as the distribution asks for, but as evenly over the classes as the pool
    /// allows: another training set of the same size, to compare with. Head, medium and tail stay
    /// those of the images that the distribution would have drawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balanced: bool,
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
        /// Images wanted of the first class.
        max: usize,
        /// Largest over smallest wanted count.
        imbalance_factor: f64,
    },
    /// A number for each place in the order of the classes by summed conditional probability.
    Counts {
        /// Images wanted per class, the most common class first.
        counts: Vec<usize>,
    },
    /// A number for each class by name.
    ClassCounts {
        /// Images wanted per class; every class needs a number.
        counts: BTreeMap<String, usize>,
    },
    /// The pool as it is.
    AsIs {},
    /// The images of a list, in its order: a released benchmark.
    Ids {
        /// One image id per line (a name, or a file name without folder and ending).
        file: PathBuf,
    },
    /// A released benchmark list rebuilt from the annotations alone.
    Released {
        /// Which list.
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
    /// Returns the Pareto curve of the benchmark.
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

/// Where validation images are taken from.
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

/// What to do about classes that have no image in the pool.
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
    /// Creates a configuration with all defaults and seed 0: users' own data is kept as it is, the
    /// sources of the published benchmarks follow the curve of VOC-MLT.
    pub fn new(source: Source) -> Self {
        let distribution = Self::usual_distribution(&source);
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
            source,
            distribution,
            balanced: false,
            groups: GroupThresholds::default(),
        }
    }

    fn usual_distribution(source: &Source) -> Distribution {
        match source.info().as_is {
            true => Distribution::AsIs {},
            false => Distribution::default(),
        }
    }

    /// Sets the default distribution of the source (see [`SplitConfig::new`]) if `written`, the
    /// table this configuration was read from, does not specify one.
    pub fn complete(&mut self, written: &toml::Table) {
        if !written.contains_key("distribution") {
            self.distribution = Self::usual_distribution(&self.source);
        }
    }

    /// Reads a configuration from a TOML file, including the files it `extends`. Relative paths are
    /// resolved against the folder of the file in which they occur.
    pub fn read(path: &Path) -> Result<Self> {
        let layers = Layers::read(path)?;
        let mut config: SplitConfig = layers.typed()?;
        config.complete(layers.table());
        config.resolve_paths(&KeyPath::root(), &|key, path| {
            layers.tree().resolve(key, path)
        });
        config
            .check(&KeyPath::root())
            .map_err(|error| layers.tree().locate(error))?;
        Ok(config)
    }

    /// Adds to an error of [`Split::build`](super::Split::build) the line of the file at `path`
    /// that sets the offending key.
    pub fn locate(path: &Path, error: Error) -> Error {
        let Ok(layers) = Layers::read(path) else {
            return error;
        };
        let Error::Input(mut input) = error else {
            return error;
        };
        // In an experiment, the same table is called `[split]`.
        if let Place::Key(key) = &input.at
            && let [first, rest @ ..] = key.keys()
            && first == "split"
        {
            input.at = Place::Key(rest.iter().cloned().collect());
        }
        layers.tree().locate(Error::Input(input))
    }

    /// Replaces every path by the result of `resolve`, which is given the path and its key. `at` is
    /// the key of this table.
    pub fn resolve_paths(&mut self, at: &KeyPath, resolve: &dyn Fn(&KeyPath, &Path) -> PathBuf) {
        let at_source = at.join("source");
        (self.source).each_path(&mut |key, path| *path = resolve(&at_source.join(key), path));
        if let Distribution::Ids { file } = &mut self.distribution {
            *file = resolve(&at.join("distribution.file"), file);
        }
    }

    /// Returns true if both configurations produce the same split. Relative paths, as stored by
    /// earlier versions, are resolved against the working directory.
    pub fn is_same(&self, other: &SplitConfig) -> bool {
        let [ours, theirs] = [self, other].map(|config| {
            let mut config = config.clone();
            config.resolve_paths(&KeyPath::root(), &|_, path| absolute(Path::new(""), path));
            config
        });
        ours == theirs
    }

    /// Rejects values out of range, naming the key. `at` is the key of this table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(0, i64::MAX).check_whole(&at.join("seed"), self.seed)?;
        let thresholds = &self.groups;
        let (medium, head) = (("tail", thresholds.medium), ("head", thresholds.head));
        longtail::check_bounds(&at.join("groups"), medium, head)?;
        self.source.check(&at.join("source"))?;
        for (key, amount) in [("validation", self.validation), ("test", self.test)] {
            let whole_or_part = amount < 1.0 || amount.fract() == 0.0;
            if !(amount >= 0.0 && amount.is_finite() && whole_or_part) {
                let problem = format!(
                    "is {amount}, expected a fraction from 0 to below 1, or a whole number of images"
                );
                return Err(Error::key(at.join(key), problem));
            }
        }
        if let (Some(min), Some(max)) = (self.min_per_class, self.max_per_class) {
            longtail::check_bounds(at, ("min_per_class", min), ("max_per_class", max))?;
        }
        if self.balanced && self.distribution == (Distribution::AsIs {}) {
            let problem = "has no effect, since the distribution takes the whole pool";
            return Err(Error::key(at.join("balanced"), problem).hint(
                "leave it out, or choose a distribution, whose number of images it then uses",
            ));
        }
        let at_distribution = at.join("distribution");
        match &self.distribution {
            Distribution::Pareto(pareto) => pareto.check(&at_distribution)?,
            Distribution::Exponential {
                max,
                imbalance_factor,
            } => longtail::check_exponential(&at_distribution, *max, *imbalance_factor)?,
            Distribution::Counts { .. } | Distribution::ClassCounts { .. } => {}
            Distribution::AsIs {} | Distribution::Ids { .. } | Distribution::Released { .. } => {
                self.check_no_limits(&at_distribution)?;
            }
        }
        Ok(())
    }

    /// Rejects per-class limits if the distribution already fixes the images.
    fn check_no_limits(&self, at: &KeyPath) -> Result<()> {
        match self.max_per_class.is_some() || self.min_per_class.is_some() || self.keep_at_least > 0
        {
            true => Err(Error::key(
                at,
                "fixes the images, so `max_per_class`, `min_per_class` and `keep_at_least` have no effect",
            )
            .hint("leave them out, or choose `pareto`, `exponential`, `counts` or `class-counts`")),
            false => Ok(()),
        }
    }

    /// Returns the wanted counts in the order of the classes, or `None` if the distribution does
    /// not define any. `order` lists the class names in the order used by the construction; it is
    /// needed for counts given by class name.
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
                    return Err(Error::key("split.distribution.counts", problem));
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
        return Err(Error::key(
            "split.distribution.counts",
            format_args!("unknown classes: {names}"),
        ));
    }
    let missing: Vec<&str> = (order.iter().copied())
        .filter(|&name| !counts.contains_key(name))
        .collect();
    if !missing.is_empty() {
        let names = first_named(missing);
        return Err(Error::key(
            "split.distribution.counts",
            format_args!("no count for {names}"),
        ));
    }
    Ok(order
        .iter()
        .filter_map(|&name| counts.get(name).copied())
        .collect())
}
