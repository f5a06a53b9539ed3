//! `dbloss split`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use dbloss::config::{Experiment, ExperimentFile, Layers};
use dbloss::data::labels::GroupThresholds;
use dbloss::data::split::{EmptyClasses, Set, Split, SplitConfig, ValidationFrom};
use dbloss::report::stats::{self, SplitStatistics};
use dbloss::{Error, Result};

use super::output::{self, FormatArg};
use super::source::SourceOptions;

mod distribution;

const EXAMPLES: &str = "\
Examples:
  VOC-MLT's construction from a devkit, tested on VOC2007:
    dbloss split --voc VOCdevkit --year 2012 --test-list test --test-year 2007 \\
      --like voc-mlt --out splits/voc-mlt
  The released VOC-MLT list, rebuilt from the annotations:
    dbloss split --voc VOCdevkit --test-list test --test-year 2007 \\
      --recipe voc-mlt-released --out splits/voc-mlt
  COCO-MLT's construction:
    dbloss split --coco annotations/instances_train2017.json --images train2017 \\
      --test annotations/instances_val2017.json --test-images val2017 \\
      --like coco-mlt --out splits/coco-mlt
  A table of your own with all its images, and a report:
    dbloss split --table train.csv --test test.csv --report --out splits/mine";

/// Build a long-tailed training subset and its test set.
///
/// Reads annotations, draws the training images by the published construction (or by another curve,
/// or takes a released list or the whole pool), and writes a split folder: train.csv, test.csv,
/// classes.csv, split.toml.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_group("from", |group| group.required(true).arg("config")))]
pub(super) struct Args {
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
    /// Also write the report of `dbloss stats`, into DIR/report
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    source: SourceOptions,
    /// Take the settings from a TOML file: the `config` table of a split.toml, or the [split] table
    /// of an experiment
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    config: Option<PathBuf>,

    /// Use the settings of a published benchmark
    #[arg(long, value_enum, help_heading = "Distribution", conflicts_with_all = ["distribution", "recipe", "ids"])]
    like: Option<PresetArg>,
    /// Rebuild a released list exactly
    #[arg(long, value_enum, help_heading = "Distribution", conflicts_with_all = ["distribution", "ids"])]
    recipe: Option<RecipeArg>,
    /// Take the images that a file lists, one id per line
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Distribution",
        conflicts_with = "distribution"
    )]
    ids: Option<PathBuf>,
    /// The curve of the images wanted per class [default: as-is; with --voc, --coco, --lvis,
    /// --shapes: pareto]
    #[arg(long, value_enum, help_heading = "Distribution")]
    distribution: Option<DistributionArg>,
    /// Pareto, exponential: images wanted of the first class [default: 800; with --like coco-mlt:
    /// 1200]
    #[arg(long, help_heading = "Distribution")]
    max: Option<usize>,
    /// Pareto: floor of the curve [default: 1]
    #[arg(long, help_heading = "Distribution")]
    min: Option<usize>,
    /// Pareto: shape of the curve; higher is steeper [default: 6]
    #[arg(long, help_heading = "Distribution")]
    alpha: Option<f64>,
    /// Pareto: quantile at which the last class is placed [default: 0.99]
    #[arg(long, help_heading = "Distribution")]
    tail: Option<f64>,
    /// Exponential: images wanted of the first class divided by those of the last [default: 100]
    #[arg(long, value_name = "RATIO", help_heading = "Distribution")]
    imbalance_factor: Option<f64>,
    /// Counts: images wanted per class, as `800,400,...` in the order of the classes (largest
    /// summed conditional probability first) or by name as `dog=30,cat=20,...`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Distribution"
    )]
    counts: Vec<String>,
    /// Draw as many images as the distribution asks for, but as evenly over the classes as the pool
    /// allows
    #[arg(long, help_heading = "Distribution")]
    balanced: bool,
    /// Ask for no more images than this of any class
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    max_per_class: Option<usize>,
    /// Ask for no fewer images than this of any class
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    min_per_class: Option<usize>,
    /// Keep an image if removing it would leave one of its classes with fewer images than this
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    keep_at_least: Option<usize>,

    /// Seed of all random draws [default: 0]
    #[arg(long, help_heading = "Sets", allow_negative_numbers = true, value_parser = super::common::seed)]
    seed: Option<u64>,
    /// Images to hold out for validation, stratified: a fraction below 1, or a number [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Sets")]
    validation: Option<f64>,
    /// Take the validation images from the training set, or from the images that were not drawn
    /// [default: train]
    #[arg(long, value_enum, help_heading = "Sets")]
    validation_from: Option<ValidationFromArg>,
    /// Images of the pool to set apart as the test set if the source has none: a fraction below 1,
    /// or a number [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Sets")]
    test_part: Option<f64>,
    /// Fewest training images of a head class [default: 100]
    #[arg(long, value_name = "N", help_heading = "Sets")]
    head: Option<usize>,
    /// Fewest training images of a class that is not in the tail [default: 20]
    #[arg(long, value_name = "N", help_heading = "Sets")]
    medium: Option<usize>,
    /// What to do about classes that have no image in the pool [default: error]
    #[arg(long, value_enum, help_heading = "Sets")]
    empty_classes: Option<EmptyClassesArg>,
    /// Accept images that are in both the training and the test set
    #[arg(long, help_heading = "Sets")]
    allow_overlap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PresetArg {
    VocMlt,
    CocoMlt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecipeArg {
    VocMltReleased,
    CocoMltReleased,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DistributionArg {
    Pareto,
    Exponential,
    Counts,
    AsIs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ValidationFromArg {
    Train,
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EmptyClassesArg {
    Error,
    Drop,
    Keep,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let config = args.settings()?;
    // Refused before the annotations are read, not after.
    if !args.force && args.out.is_dir() && fs_err::read_dir(&args.out)?.next().is_some() {
        dbloss::io::claim_folder(&args.out, false)?;
    }
    let split = Split::build(&config).map_err(|error| args.locate(error, &config))?;
    split.write(&args.out, args.force)?;
    if let Some(problem) = split.check_pictures(&Set::ALL).problem() {
        tracing::warn!("{problem}");
    }
    let tables = SplitStatistics::new(&split)?.tables(&split)?;
    output::tables(args.format, &tables, || stats::class_table(&split));
    if args.report {
        let folder = args.out.join("report");
        stats::write_report(&split, &super::stats::title(&args.out), &folder)?;
    }
    tracing::info!("wrote {}", args.out.display());
    Ok(())
}

impl Args {
    /// An error that names a key of `config`, with the line of the file that wrote it. Where the
    /// arguments changed what the file says, the key alone: the line could be the wrong one.
    fn locate(&self, error: Error, config: &SplitConfig) -> Error {
        let Some(path) = &self.config else {
            return error;
        };
        match read_settings(path) {
            Ok((file, of_file)) if file == *config => of_file.locate(error),
            _ => error,
        }
    }

    /// The settings that the arguments stand for.
    fn settings(&self) -> Result<SplitConfig> {
        let source = self.source.source("config")?;
        let mut config = match (&self.config, source) {
            (_, Some(source)) => SplitConfig::new(source),
            (Some(path), None) => read_settings(path)?.0,
            (None, None) => return Err(Error::argument("the source", "is missing")),
        };
        if let Some(distribution) = self.distribution()? {
            config.distribution = distribution;
        }
        config.seed = self.seed.unwrap_or(config.seed);
        config.validation = self.validation.unwrap_or(config.validation);
        if let Some(from) = self.validation_from {
            config.validation_from = match from {
                ValidationFromArg::Train => ValidationFrom::Train,
                ValidationFromArg::Rest => ValidationFrom::Rest,
            };
        }
        config.test = self.test_part.unwrap_or(config.test);
        config.balanced |= self.balanced;
        config.max_per_class = self.max_per_class.or(config.max_per_class);
        config.min_per_class = self.min_per_class.or(config.min_per_class);
        config.keep_at_least = self.keep_at_least.unwrap_or(config.keep_at_least);
        config.groups = GroupThresholds {
            head: self.head.unwrap_or(config.groups.head),
            medium: self.medium.unwrap_or(config.groups.medium),
        };
        if let Some(empty) = self.empty_classes {
            config.empty_classes = match empty {
                EmptyClassesArg::Error => EmptyClasses::Error,
                EmptyClassesArg::Drop => EmptyClasses::Drop,
                EmptyClassesArg::Keep => EmptyClasses::Keep,
            };
        }
        config.allow_overlap |= self.allow_overlap;
        Ok(config)
    }
}

/// A file that says how a split is made.
enum SettingsFile<'a> {
    /// A configuration of a split.
    Split(&'a Path),
    /// An experiment with one in its table `[split]`.
    Experiment(Box<Experiment>),
}

impl SettingsFile<'_> {
    fn locate(&self, error: Error) -> Error {
        match self {
            SettingsFile::Split(path) => SplitConfig::locate(path, error),
            SettingsFile::Experiment(experiment) => experiment.locate(error),
        }
    }
}

/// The split settings of a file, and which kind of file it is.
fn read_settings(path: &Path) -> Result<(SplitConfig, SettingsFile<'_>)> {
    let keys = ["split", "split_folder", "name", "methods"];
    let layers = Layers::read(path)?;
    let table = layers.table();
    let is_experiment = keys.iter().any(|key| table.contains_key(*key));
    if table.contains_key("source") || !is_experiment {
        return Ok((SplitConfig::read(path)?, SettingsFile::Split(path)));
    }
    let file = ExperimentFile::of(path, layers, &[])?;
    let experiment = file.resolve(file.methods().first().copied(), None)?;
    match experiment.split.clone() {
        Some(split) => Ok((split, SettingsFile::Experiment(Box::new(experiment)))),
        None => Err(
            Error::file(path, "is an experiment without a `[split]` table")
                .hint("name an experiment that says how its split is made, not where it is"),
        ),
    }
}
