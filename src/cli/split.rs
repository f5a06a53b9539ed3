//! `dbloss split`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, ValueEnum};

use dbloss::Result;
use dbloss::data::labels::GroupThresholds;
use dbloss::data::split::{
    Difficult, EmptyClasses, Files, Set, Source, Split, SplitConfig, ValidationFrom,
};
use dbloss::report::stats;

use super::output;

mod distribution;

const EXAMPLES: &str = "\
Examples:
  VOC-MLT's construction from a devkit, tested on VOC2007:
    dbloss split --voc VOCdevkit --year 2012 --test-list test --test-year 2007 --like voc-mlt --out splits/voc-mlt
  The released VOC-MLT list, rebuilt from the annotations:
    dbloss split --voc VOCdevkit --test-list test --test-year 2007 --recipe voc-mlt-released --out splits/voc-mlt
  COCO-MLT's construction:
    dbloss split --coco annotations/instances_train2017.json --test annotations/instances_val2017.json \\
      --images train2017 --test-images val2017 --like coco-mlt --out splits/coco-mlt
  A table of one's own, grouped and reported as it is:
    dbloss split --table train.csv --test test.csv --distribution as-is --report --out splits/mine";

/// The options that say where the annotations come from.
const SOURCES: [&str; 9] = [
    "voc",
    "coco",
    "lvis",
    "table",
    "folder",
    "open_images",
    "labelme",
    "shapes",
    "config",
];

/// What an option of `source` alone is refused beside: clap lets a `requires` pass that a conflict
/// makes impossible.
fn all_but(source: &str) -> impl Iterator<Item = &'static str> {
    SOURCES.into_iter().filter(move |other| *other != source)
}

/// Build a long-tailed training subset and its test set.
///
/// Reads annotations, draws the training images by the published construction (or takes a
/// released list, another curve, or the pool as it is), and writes a split folder: train.csv,
/// test.csv, classes.csv, split.toml.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("from").required(true).args(SOURCES)))]
pub struct Args {
    /// Folder to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
    /// Write the report of `dbloss stats` too, into DIR/report
    #[arg(long)]
    report: bool,

    /// A PASCAL VOC devkit: the folder with VOC2007 or VOC2012 inside
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    voc: Option<PathBuf>,
    /// COCO instances JSON
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    coco: Option<PathBuf>,
    /// LVIS JSON
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    lvis: Option<PathBuf>,
    /// A label table: CSV or TSV with the columns `image` and `labels` (separated by `|`), or
    /// `image` and one column of 0 and 1 a class; or JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    table: Option<PathBuf>,
    /// A folder with one folder of pictures a class
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    folder: Option<PathBuf>,
    /// Open Images CSV: image-level labels or boxes
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    open_images: Option<PathBuf>,
    /// A folder of LabelMe JSON files
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    labelme: Option<PathBuf>,
    /// The embedded set of drawn shapes
    #[arg(long, help_heading = "Source")]
    shapes: bool,
    /// Settings from a TOML file, the same as in split.toml under `config`
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    config: Option<PathBuf>,
    /// Annotations of the test set, of the same kind
    #[arg(long, value_name = "PATH", help_heading = "Source", conflicts_with_all = ["voc", "shapes"])]
    test: Option<PathBuf>,
    /// Folder that the image names are relative to [default: the annotations' folder]
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    images: Option<PathBuf>,
    /// The same for the test set [default: that of --images]
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    test_images: Option<PathBuf>,
    /// Classes and their order, one name a line [default: all that occur, sorted; COCO: by id]
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    classes: Option<PathBuf>,
    /// VOC: year of the pool
    #[arg(
        long,
        default_value_t = 2012,
        help_heading = "Source",
        requires = "voc",
        conflicts_with_all = all_but("voc")
    )]
    year: u32,
    /// VOC: list of the pool's images in ImageSets/Main
    #[arg(
        long,
        value_name = "NAME",
        default_value = "trainval",
        help_heading = "Source",
        requires = "voc",
        conflicts_with_all = all_but("voc")
    )]
    train_list: String,
    /// VOC: list of the test images in ImageSets/Main
    #[arg(long, value_name = "NAME", help_heading = "Source", requires = "voc",
        conflicts_with_all = all_but("voc"))]
    test_list: Option<String>,
    /// VOC: year of the test set [default: that of the pool]
    #[arg(
        long,
        value_name = "YEAR",
        help_heading = "Source",
        requires = "test_list",
        conflicts_with_all = all_but("voc")
    )]
    test_year: Option<u32>,
    /// VOC: devkit of the test set [default: that of the pool]
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Source",
        requires = "test_list",
        conflicts_with_all = all_but("voc")
    )]
    test_voc: Option<PathBuf>,
    /// VOC: whether objects flagged as difficult count
    #[arg(long, value_enum, default_value_t = DifficultArg::Count, help_heading = "Source", requires = "voc",
        conflicts_with_all = all_but("voc"))]
    voc_difficult: DifficultArg,
    /// Open Images: CSV that names the label codes
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Source",
        requires = "open_images",
        conflicts_with_all = all_but("open_images")
    )]
    descriptions: Option<PathBuf>,
    /// Open Images: labels with less confidence are absent
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.5,
        help_heading = "Source",
        requires = "open_images",
        conflicts_with_all = all_but("open_images")
    )]
    min_confidence: f64,
    /// Shapes: seed of the pictures
    #[arg(
        long,
        default_value_t = 0,
        help_heading = "Source",
        requires = "shapes",
        conflicts_with_all = all_but("shapes")
    )]
    shapes_seed: u64,
    /// Shapes: pictures in the pool
    #[arg(
        long,
        default_value_t = 4000,
        help_heading = "Source",
        requires = "shapes",
        conflicts_with_all = all_but("shapes")
    )]
    pool_size: usize,
    /// Shapes: pictures in the test set
    #[arg(
        long,
        default_value_t = 1500,
        help_heading = "Source",
        requires = "shapes",
        conflicts_with_all = all_but("shapes")
    )]
    test_size: usize,
    /// Shapes: side of the pictures, in pixels
    #[arg(
        long,
        default_value_t = 80,
        help_heading = "Source",
        requires = "shapes",
        conflicts_with_all = all_but("shapes")
    )]
    side: u32,

    /// The settings of a published benchmark
    #[arg(long, value_enum, help_heading = "Distribution", conflicts_with_all = ["distribution", "recipe", "ids"])]
    like: Option<PresetArg>,
    /// Rebuild a released list exactly
    #[arg(long, value_enum, help_heading = "Distribution", conflicts_with_all = ["distribution", "ids"])]
    recipe: Option<RecipeArg>,
    /// Take the images that a file lists, one id a line
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Distribution",
        conflicts_with = "distribution"
    )]
    ids: Option<PathBuf>,
    /// The curve of wanted images a class
    #[arg(long, value_enum, help_heading = "Distribution")]
    distribution: Option<DistributionArg>,
    /// Pareto, exponential: wanted images of the first class [default: 800; --like coco-mlt: 1200]
    #[arg(long, help_heading = "Distribution")]
    max: Option<usize>,
    /// Pareto: floor of the curve [default: 1]
    #[arg(long, help_heading = "Distribution")]
    min: Option<usize>,
    /// Pareto: shape; greater is steeper [default: 6]
    #[arg(long, help_heading = "Distribution")]
    alpha: Option<f64>,
    /// Pareto: quantile at which the last class stands [default: 0.99]
    #[arg(long, help_heading = "Distribution")]
    tail: Option<f64>,
    /// Exponential: wanted count of the first class over that of the last [default: 100]
    #[arg(long, value_name = "RATIO", help_heading = "Distribution")]
    imbalance_factor: Option<f64>,
    /// Counts: wanted images, `800,400,...` by the order of the classes (largest summed
    /// conditional probability first), or `dog=30,cat=20,...` by name
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Distribution"
    )]
    counts: Vec<String>,
    /// Want no class more often than this
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    max_per_class: Option<usize>,
    /// Want no class less often than this
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    min_per_class: Option<usize>,
    /// Remove no image if one of its classes would fall below this
    #[arg(long, value_name = "N", help_heading = "Distribution")]
    keep_at_least: Option<usize>,

    /// Seed of every draw [default: 0]
    #[arg(long, help_heading = "Sets")]
    seed: Option<u64>,
    /// Images to hold out for validation, stratified: a part below 1, or a number [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Sets")]
    validation: Option<f64>,
    /// Take them from the training set, or from the images that were not drawn [default: train]
    #[arg(long, value_enum, help_heading = "Sets")]
    validation_from: Option<ValidationFromArg>,
    /// Images of the pool to set apart as test set where the source has none [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Sets")]
    test_part: Option<f64>,
    /// Fewest training images of a head class [default: 100]
    #[arg(long, value_name = "N", help_heading = "Sets")]
    head: Option<usize>,
    /// Fewest training images of a class that is not in the tail [default: 20]
    #[arg(long, value_name = "N", help_heading = "Sets")]
    medium: Option<usize>,
    /// What to do about classes without any image in the pool [default: error]
    #[arg(long, value_enum, help_heading = "Sets")]
    empty_classes: Option<EmptyClassesArg>,
    /// Accept images that are in the training and in the test set
    #[arg(long, help_heading = "Sets")]
    allow_overlap: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DifficultArg {
    Count,
    Ignore,
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
pub fn run(args: Args) -> Result<()> {
    let config = args.settings()?;
    // Refused before the annotations are read, not after.
    if !args.force && args.out.is_dir() && fs_err::read_dir(&args.out)?.next().is_some() {
        dbloss::io::claim_folder(&args.out, false)?;
    }
    let split = Split::build(&config)?;
    split.write(&args.out, args.force)?;
    if let Some(problem) = split.check_pictures(&Set::ALL).problem() {
        tracing::warn!("{problem}");
    }
    output::data(&stats::class_table(&split));
    if args.report {
        let folder = args.out.join("report");
        stats::write_report(&split, &super::stats::title(&args.out), &folder)?;
    }
    tracing::info!("wrote {}", args.out.display());
    Ok(())
}

impl Args {
    /// The settings that the arguments stand for.
    fn settings(&self) -> Result<SplitConfig> {
        let mut config = match &self.config {
            Some(path) => SplitConfig::read(path)?,
            None => SplitConfig::new(self.source()?),
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

    fn source(&self) -> Result<Source> {
        let classes = self.classes.clone();
        if let Some(root) = &self.voc {
            return Ok(Source::Voc {
                root: root.clone(),
                year: self.year,
                train: self.train_list.clone(),
                test: self.test_list.clone(),
                test_year: self.test_year,
                test_root: self.test_voc.clone(),
                difficult: match self.voc_difficult {
                    DifficultArg::Count => Difficult::Count,
                    DifficultArg::Ignore => Difficult::Ignore,
                },
                classes,
            });
        }
        let files = |train: &Path| Files {
            train: train.to_path_buf(),
            test: self.test.clone(),
            root: self.images.clone(),
            test_root: self.test_images.clone(),
            classes: classes.clone(),
        };
        if let Some(train) = &self.table {
            return Ok(Source::Table(files(train)));
        }
        if let Some(train) = self.coco.as_ref().or(self.lvis.as_ref()) {
            return Ok(Source::Coco(files(train)));
        }
        if let Some(train) = &self.folder {
            return Ok(Source::Folder(files(train)));
        }
        if let Some(train) = &self.labelme {
            return Ok(Source::Labelme(files(train)));
        }
        if let Some(train) = &self.open_images {
            return Ok(Source::OpenImages {
                train: train.clone(),
                test: self.test.clone(),
                root: self.images.clone(),
                test_root: self.test_images.clone(),
                classes,
                descriptions: self.descriptions.clone(),
                min_confidence: self.min_confidence,
            });
        }
        Ok(Source::Shapes {
            seed: self.shapes_seed,
            pool_size: self.pool_size,
            test_size: self.test_size,
            side: self.side,
        })
    }
}
