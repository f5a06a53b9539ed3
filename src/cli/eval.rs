//! `dbloss eval`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use dbloss::data::labels::LabelTable;
use dbloss::data::split::Split;
use dbloss::job::{self, Evaluate, EvaluatedSet};
use dbloss::metrics::ApMethod;
use dbloss::predict::Predictions;
use dbloss::report::evaluation::{Evaluation, Options, difference};
use dbloss::run_dir::{Manifest, RunDir};
use dbloss::{Error, Result};

use super::common::MachineArgs;
use super::output;

/// Score a run, or anyone's predictions
///
/// Writes `predictions.csv` (logits), `per_class.csv` and `groups.csv` to the run's
/// `eval/<set>/`, and prints mAP over all, head, medium and tail classes. With `--predictions`
/// no model is needed: a CSV with an image and one score a class is compared with the labels of a
/// split.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss eval runs/shapes/db-focal-s0
  dbloss eval runs/shapes/db-focal-s0 --against runs/shapes/erm-s0
  dbloss eval --predictions scores.csv --split runs/shapes/split --out scored")]
pub struct Args {
    /// Folder of a trained run
    #[arg(required_unless_present = "predictions", value_name = "RUN_DIR")]
    run: Option<PathBuf>,
    /// Scores to evaluate instead of a run's: `image,<class>,<class>,...`
    #[arg(long, value_name = "FILE", requires = "split", conflicts_with = "run")]
    predictions: Option<PathBuf>,
    /// The split whose labels and class groups to compare with; for a run, its own if that has
    /// been moved
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Which images
    #[arg(long, default_value = "test", value_name = "SET")]
    on: SetName,
    /// Which checkpoint of the run: `last`, or `best` on the validation part
    #[arg(long, default_value = "last", value_parser = ["last", "best"])]
    checkpoint: String,
    /// Score at or below which a class counts as absent in precision, recall and F1 [default: 0
    /// for a run's logits, 0.5 for given predictions]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Resamples of the test images for the confidence intervals; 0 for none
    #[arg(long, default_value_t = 1000, value_name = "N")]
    bootstrap: usize,
    /// Another run on the same split, evaluated before: prints the gain over it with a paired
    /// bootstrap over the images
    #[arg(long, value_name = "RUN_DIR")]
    against: Option<PathBuf>,
    /// Per-class thresholds with the best F1 on the split's validation part
    #[arg(long, conflicts_with_all = ["predictions", "threshold"])]
    fit_thresholds: bool,
    /// How AP is taken from the precision-recall curve
    #[arg(long = "ap", default_value = "area", value_name = "METHOD")]
    average_precision: ApName,
    /// Where to write the tables of `--predictions`; without it they are only printed
    #[arg(long, value_name = "DIR", requires = "predictions")]
    out: Option<PathBuf>,
    /// Write into an output folder that is not empty
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SetName {
    Test,
    Validation,
    Train,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ApName {
    /// The area under the steps of the curve, as scikit-learn has it
    Area,
    /// VOC's mean over 11 recalls, for comparison with papers before 2010
    ElevenPoint,
}

impl From<ApName> for ApMethod {
    fn from(name: ApName) -> Self {
        match name {
            ApName::Area => ApMethod::Area,
            ApName::ElevenPoint => ApMethod::ElevenPoint,
        }
    }
}

impl From<SetName> for EvaluatedSet {
    fn from(name: SetName) -> Self {
        match name {
            SetName::Test => EvaluatedSet::Test,
            SetName::Validation => EvaluatedSet::Validation,
            SetName::Train => EvaluatedSet::Train,
        }
    }
}

impl Args {
    /// The predictions of the run that this one is compared with. What is missing is told before
    /// the work, not after it.
    fn baseline(&self) -> Result<Option<PathBuf>> {
        let Some(other) = &self.against else {
            return Ok(None);
        };
        if self.bootstrap == 0 {
            let problem = "`--against` compares by resampling, and there are to be 0 resamples";
            return Err(Error::argument("--bootstrap", problem).hint("leave `--bootstrap` out"));
        }
        let set = EvaluatedSet::from(self.on);
        let file = RunDir::new(other).eval(set.name()).join("predictions.csv");
        if !file.is_file() {
            return Err(Error::file(&file, "does not exist")
                .hint("evaluate that run first: `dbloss eval RUN_DIR`"));
        }
        Ok(Some(file))
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    let logits = args.predictions.is_none();
    let options = Options {
        thresholds: vec![args.threshold.unwrap_or(if logits { 0.0 } else { 0.5 })],
        resamples: args.bootstrap,
        average_precision: args.average_precision.into(),
    };
    let baseline = args.baseline()?;
    let (evaluation, scored) = match (&args.run, &args.predictions) {
        (_, Some(file)) => score_file(&args, file, &options)?,
        (Some(folder), None) => {
            let run = RunDir::new(folder);
            if !run.manifest().is_file() {
                return Err(Error::file(folder, "is not a run's folder")
                    .hint("expected the folder that `dbloss train` wrote, with `manifest.json`"));
            }
            let machine = args.machine.open()?;
            let job = Evaluate {
                run: &run,
                set: args.on.into(),
                checkpoint: &args.checkpoint,
                fit_thresholds: args.fit_thresholds,
                split_folder: args.split.as_deref(),
            };
            let evaluation = job::evaluate(&job, &machine, options)?;
            (evaluation, Scored::of_run(&job)?)
        }
        (None, None) => return Err(Error::input("eval", "expected a run's folder")),
    };
    output::data(&evaluation.to_string());
    if let Some(file) = baseline {
        let baseline = scored.read(&file)?;
        let Scored {
            predictions,
            table,
            split,
        } = &scored;
        let gain = difference(&baseline, predictions, table, split, args.bootstrap)?;
        output::data(&gain.to_string());
    }
    Ok(())
}

/// Predictions with the labels that they were scored against.
struct Scored {
    predictions: Predictions,
    table: LabelTable,
    split: Split,
}

impl Scored {
    /// What an evaluation has just written.
    fn of_run(job: &Evaluate) -> Result<Self> {
        let recorded = Manifest::read(&job.run.manifest())?.split_folder;
        let folder = job.split_folder.map_or(recorded, Path::to_owned);
        let split = Split::read(&folder)?;
        let (table, _) = job.set.of(&split, &folder)?;
        let predictions = Predictions::read(&job.folder().join("predictions.csv"))?;
        // Pictures that were skipped as bad have no row.
        let scored: HashSet<&str> = predictions.images.iter().map(String::as_str).collect();
        let rows: Vec<usize> = (0..table.len())
            .filter(|&i| scored.contains(table.image(i)))
            .collect();
        Ok(Scored {
            table: table.subset(&rows),
            predictions,
            split,
        })
    }

    /// Predictions of another run for the same images.
    fn read(&self, file: &Path) -> Result<Predictions> {
        aligned(file, &self.table)
    }
}

/// The predictions in `file` in the order of `table`.
fn aligned(file: &Path, table: &LabelTable) -> Result<Predictions> {
    let mut predictions = Predictions::read(file)?;
    predictions.scores = predictions.align(table, file)?;
    predictions.classes = table.classes().to_vec();
    predictions.images = table.images().to_vec();
    Ok(predictions)
}

fn score_file(args: &Args, file: &Path, options: &Options) -> Result<(Evaluation, Scored)> {
    let folder = args.split.clone().unwrap_or_default();
    let split = Split::read(&folder)?;
    let (table, _) = EvaluatedSet::from(args.on).of(&split, &folder)?;
    let table = table.clone();
    let predictions = aligned(file, &table)?;
    let evaluation = Evaluation::new(&predictions, &table, &split, options)?;
    if let Some(out) = &args.out {
        dbloss::io::claim_folder(out, args.force)?;
        evaluation.write(out)?;
    }
    let scored = Scored {
        predictions,
        table,
        split,
    };
    Ok((evaluation, scored))
}
