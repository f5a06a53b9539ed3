//! `dbloss eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbloss::data::labels::LabelTable;
use dbloss::data::split::{Set, Split};
use dbloss::job::{Evaluate, Evaluated, Opened};
use dbloss::metrics::ApMethod;
use dbloss::predict::Predictions;
use dbloss::report::evaluation::{Evaluation, Options, difference};
use dbloss::run_dir::{Checkpoint, RunDir};
use dbloss::{Error, Result};

use super::common::{MachineArgs, checkpoint_parser, set_parser};
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
    #[arg(long, default_value = "test", value_name = "SET", value_parser = set_parser())]
    on: Set,
    /// Which checkpoint of the run: `last`, or `best` on the validation part
    #[arg(long, default_value = "last", value_name = "WHICH", value_parser = checkpoint_parser(),
        conflicts_with = "predictions")]
    checkpoint: Checkpoint,
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
        let file = RunDir::new(other).eval(self.on).join("predictions.csv");
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
    let (split, evaluated) = match (&args.run, &args.predictions) {
        (_, Some(file)) => score_file(&args, file, &options)?,
        (Some(folder), None) => score_run(&args, folder, options)?,
        (None, None) => return Err(Error::input("eval", "expected a run's folder")),
    };
    let Evaluated {
        evaluation,
        predictions,
        table,
    } = &evaluated;
    output::data(&evaluation.to_terminal(args.on));
    if let Some(file) = baseline {
        let baseline = aligned(&file, table)?;
        let gain = difference(&baseline, predictions, table, &split, args.bootstrap)?;
        output::data(&gain.to_string());
    }
    Ok(())
}

/// Scores a run's model.
fn score_run(args: &Args, folder: &Path, options: Options) -> Result<(Split, Evaluated)> {
    let run = RunDir::new(folder);
    let Opened {
        experiment,
        split,
        split_folder,
    } = Opened::read(&run, args.split.as_deref())?;
    let machine = args.machine.open()?;
    let evaluate = Evaluate {
        run: &run,
        experiment: &experiment,
        split: &split,
        split_folder: &split_folder,
        set: args.on,
        checkpoint: args.checkpoint,
        fit_thresholds: args.fit_thresholds,
    };
    let evaluated = evaluate.run(None, &machine, options)?;
    Ok((split, evaluated))
}

/// Scores the predictions of a file.
fn score_file(args: &Args, file: &Path, options: &Options) -> Result<(Split, Evaluated)> {
    let folder = args.split.clone().unwrap_or_default();
    let split = Split::read(&folder)?;
    let table = Arc::clone(split.set(args.on, &folder)?.0);
    let predictions = aligned(file, &table)?;
    let evaluation = Evaluation::new(&predictions, &table, &split, options)?;
    if let Some(out) = &args.out {
        dbloss::io::claim_folder(out, args.force)?;
        evaluation.write(out)?;
    }
    let evaluated = Evaluated {
        evaluation,
        predictions,
        table,
    };
    Ok((split, evaluated))
}

/// The predictions in `file` in the order of `table`.
fn aligned(file: &Path, table: &LabelTable) -> Result<Predictions> {
    let mut predictions = Predictions::read(file)?;
    predictions.scores = predictions.align(table, file)?;
    predictions.classes = table.classes().to_vec();
    predictions.images = table.images().to_vec();
    Ok(predictions)
}
