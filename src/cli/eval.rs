//! `dbloss eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbloss::data::labels::LabelTable;
use dbloss::data::split::{Set, Split};
use dbloss::job::{Evaluate, EvaluateOther, Evaluated, Opened, OtherSet, results_of};
use dbloss::metrics::ApMethod;
use dbloss::predict::{Predictions, Scale};
use dbloss::report::evaluation::{Evaluation, Options, TrainedOn, best_thresholds, difference};
use dbloss::run_dir::{Checkpoint, Manifest, RunDir};
use dbloss::{Error, Result};

use super::common::{MachineArgs, checkpoint_parser, set_parser, tell_of_bootstrap};
use super::other_set::OtherSetArgs;
use super::output::{self, FormatArg};
use super::source::SourceOptions;

/// Score a run, or predictions of any program
///
/// Writes `predictions.csv` (logits), `per_class.csv` and `groups.csv` to the run's `eval/<set>/`,
/// and prints mAP over all, head, medium and tail classes. If the run kept an average of its
/// weights (`train.ema_decay`), the average is scored; the plain weights are scored too, into
/// `eval/<set>-plain/`. With a source (`--table`, `--coco`, ...) or `--test-split`, the run is
/// scored on another data set, into `eval/other-<name>/`. With `--predictions` no model is needed:
/// a CSV file with an image and one score per class in each row is compared with the labels of a
/// split. A file that `dbloss export` wrote can be given instead of a run; it is scored on another
/// data set, or with `--split` on its own one, into a folder of the same name beside the file.
#[derive(Debug, clap::Args)]
#[command(mut_arg("separator", |arg| arg.help(SEPARATOR)))]
#[command(mut_arg("test_split", |arg| arg.conflicts_with_all(["predictions", "from"])))]
#[command(after_help = "Examples:
  dbloss eval runs/shapes/db-focal-s0
  dbloss eval runs/shapes/db-focal-s0 --against runs/shapes/erm-s0
  dbloss eval runs/shapes/db-focal-s0 --table new.csv --images photos
  dbloss eval birds.safetensors --table new.csv --images photos
  dbloss eval --predictions scores.csv --split runs/shapes/split --out scored
  dbloss eval --predictions scores.csv --split runs/shapes/split --method theirs --out runs/theirs
  dbloss eval --predictions all.csv --split runs/shapes/split --scores logits --fit-thresholds")]
pub(super) struct Args {
    /// Folder of a trained run, or a file that `dbloss export` wrote
    #[arg(required_unless_present = "predictions", value_name = "RUN")]
    run: Option<PathBuf>,
    /// Scores to evaluate instead of a run's: a CSV file `image,<class>,<class>,...`
    #[arg(long, value_name = "FILE", requires = "split", conflicts_with = "run")]
    predictions: Option<PathBuf>,
    /// What the scores of `--predictions` are, unless the file's header says so with `image
    /// (logits)` or `image (probabilities)` [default: logits if any score is outside 0..1]
    #[arg(long, value_name = "SCALE", requires = "predictions",
        value_parser = ["logits", "probabilities"])]
    scores: Option<String>,
    /// Scores of the split's validation part for `--fit-thresholds`, unless `--predictions`
    /// contains them
    #[arg(long, value_name = "FILE", requires_all = ["predictions", "fit_thresholds"])]
    validation_predictions: Option<PathBuf>,
    /// The split whose labels and class groups to compare with; for a run, the place of its own
    /// split if it has moved
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Which images of the split [default: test]
    #[arg(long, value_name = "SET", value_parser = set_parser(), conflicts_with = "from")]
    on: Option<Set>,
    #[command(flatten)]
    other: OtherSetArgs,
    #[command(flatten)]
    source: SourceOptions,
    /// Which checkpoint of the run: `last`, `best` on the validation part, or `epoch-N` if it was
    /// kept
    #[arg(long, default_value = "last", value_name = "WHICH", value_parser = checkpoint_parser(),
        conflicts_with = "predictions")]
    checkpoint: Checkpoint,
    /// Score above which a class counts as predicted in precision, recall and F1 [default: 0 for
    /// logits, 0.5 for probabilities]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Another run on the same split, already evaluated: prints the gain over it, with intervals
    /// paired by image
    #[arg(long, value_name = "RUN_DIR")]
    against: Option<PathBuf>,
    /// Fit a threshold per class: the one with the best F1 on the split's validation part
    #[arg(long, conflicts_with = "threshold")]
    fit_thresholds: bool,
    /// An option of 0.1.0: intervals are no bootstrap any more
    #[arg(long, value_name = "N", hide = true)]
    bootstrap: Option<usize>,
    /// How AP is computed from the precision-recall curve
    #[arg(long = "ap", default_value = "area", value_name = "METHOD")]
    average_precision: ApName,
    /// Folder for the tables of `--predictions`, which are otherwise only printed
    #[arg(long, value_name = "DIR", requires = "predictions")]
    out: Option<PathBuf>,
    /// Make `--out` the folder of a run of this method, which `dbloss report` can compare with
    /// others
    #[arg(long, value_name = "NAME", requires_all = ["predictions", "out"])]
    method: Option<String>,
    /// The seed of that run: `dbloss report` compares runs with the same seed in pairs
    #[arg(long, value_name = "N", default_value_t = 0, requires = "method", allow_negative_numbers = true, value_parser = super::common::seed)]
    seed: u64,
    /// Write into an output folder that is not empty
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    format: FormatArg,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ApName {
    /// The area under the stepwise curve, as in scikit-learn
    Area,
    /// VOC's mean precision at 11 recall levels, to compare with papers from before 2010
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

/// What `--separator` stands for here.
const SEPARATOR: &str = "What separates the cells of `--predictions`: one character, or `\\t` for a tab [default: ,]; \
    and the labels of an image in `--table`: a character; `comma`, `semicolon`, `tab` or `space`; or `list` for \
    `['a', 'b']` [default: |]";

impl Args {
    /// Which images of a split.
    fn set(&self) -> Set {
        self.on.unwrap_or(Set::Test)
    }

    /// The other test set, if one is named.
    fn other_set(&self, model: &Path) -> Result<Option<OtherSet>> {
        match self
            .other
            .set(self.set(), self.source.source("test-split")?)?
        {
            Some(set) => Ok(Some(set)),
            None if model.is_file() => match &self.split {
                Some(folder) => OtherSet::of_own_split(folder, self.set()).map(Some),
                None => Err(
                    Error::file(model, "is an exported model, which does not come with pictures").hint(
                        "name a data set, for example with `--table`, or the model's own split with `--split`",
                    ),
                ),
            },
            None => Ok(None),
        }
    }

    /// The predictions of the run that this one is compared with, on the same set. What is missing
    /// is told before the work, not after it.
    fn baseline(&self, other_set: Option<&OtherSet>) -> Result<Option<PathBuf>> {
        let Some(other) = &self.against else {
            return Ok(None);
        };
        let run = results_of(other);
        let folder = match other_set {
            Some(set) => set.results(&run, Checkpoint::Last),
            None => run.eval(self.set()),
        };
        let file = folder.join("predictions.csv");
        if !file.is_file() {
            return Err(Error::file(&file, "does not exist")
                .hint("evaluate that run first, on the same set: `dbloss eval RUN_DIR`"));
        }
        Ok(Some(file))
    }

    /// Prints what was found, and the gain over the predictions of `baseline`.
    fn show(
        &self,
        trained_on: TrainedOn,
        evaluated: &Evaluated,
        set: Option<Set>,
        baseline: Option<PathBuf>,
    ) -> Result<()> {
        let Evaluated {
            evaluation,
            predictions,
            table,
        } = evaluated;
        let mut tables = evaluation.tables()?;
        let mut text = evaluation.to_terminal(set);
        if let Some(file) = baseline {
            let baseline = aligned(&file, table)?;
            let gain = difference(&baseline, predictions, table, trained_on)?;
            tables.add("gain", &gain.rows())?;
            text.push_str(&gain.to_string());
        }
        output::tables(self.format, &tables, || text);
        Ok(())
    }
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    tell_of_bootstrap(args.bootstrap);
    let options = Options {
        thresholds: vec![args.threshold.unwrap_or(Scale::Logits.threshold())],
        average_precision: args.average_precision.into(),
    };
    if let Some(file) = &args.predictions {
        if let Some(flag) = args.source.first_but("separator") {
            let problem = "has no effect beside `--predictions`";
            return Err(Error::argument(format_args!("--{flag}"), problem)
                .hint("`--split` names the labels that they are compared with"));
        }
        let baseline = args.baseline(None)?;
        let (split, evaluated) = score_file(&args, file, options)?;
        return args.show((&split).into(), &evaluated, Some(args.set()), baseline);
    }
    let Some(folder) = &args.run else {
        return Err(Error::input("eval", "expected a run's folder"));
    };
    let other_set = args.other_set(folder)?;
    let baseline = args.baseline(other_set.as_ref())?;
    match &other_set {
        Some(set) => {
            let evaluate = EvaluateOther {
                model: folder,
                split_folder: args.split.as_deref(),
                set,
                checkpoint: args.checkpoint,
                fit_thresholds: args.fit_thresholds,
            };
            let (trained_on, evaluated) = evaluate.run(&args.machine.open()?, options)?;
            args.show(trained_on, &evaluated, set.own, baseline)
        }
        None => {
            let (split, evaluated) = score_run(&args, folder, options)?;
            args.show((&split).into(), &evaluated, Some(args.set()), baseline)
        }
    }
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
        set: args.set(),
        checkpoint: args.checkpoint,
        fit_thresholds: args.fit_thresholds,
    };
    let evaluated = evaluate.run(None, &machine, options)?;
    Ok((split, evaluated))
}

/// Scores the predictions of a file.
fn score_file(args: &Args, file: &Path, mut options: Options) -> Result<(Split, Evaluated)> {
    let folder = args.split.clone().unwrap_or_default();
    let split = Split::read(&folder)?;
    let table = Arc::clone(split.set(args.set(), &folder)?.0);
    let others: Vec<&LabelTable> = [Set::Train, Set::Validation, Set::Test]
        .into_iter()
        .filter(|set| *set != args.set())
        .filter_map(|set| Some(&**split.set(set, &folder).ok()?.0))
        .collect();
    let given = args.scores.as_deref().and_then(Scale::parse);
    let separator = match args.source.text("separator") {
        Some(text) => separator(text).map_err(|problem| Error::argument("--separator", problem))?,
        None => b',',
    };
    let read = |file: &Path| -> Result<(Predictions, Scale)> {
        let mut read = Predictions::read_separated(file, separator)?;
        let scale = read.settle_scale(given, file)?;
        Ok((read, scale))
    };
    let (whole, scale) = read(file)?;
    let predictions = in_order(&whole, &table, &others, file)?;
    options.thresholds = vec![args.threshold.unwrap_or(scale.threshold())];
    if args.fit_thresholds {
        let held_out = Arc::clone(split.set(Set::Validation, &folder)?.0);
        let rest: Vec<&LabelTable> = others.into_iter().chain([&*table]).collect();
        let fitting = match &args.validation_predictions {
            Some(file) => {
                let (validation, found) = read(file)?;
                if found != scale {
                    let problem = format!("holds {}, `--predictions` {}", found.name(), scale.name());
                    return Err(Error::file(file, problem).hint("give both on the same scale"));
                }
                in_order(&validation, &held_out, &rest, file)?
            }
            None => in_order(&whole, &held_out, &rest, file).map_err(|error| {
                error.hint("thresholds are fitted on the validation part: give its scores with `--validation-predictions`")
            })?,
        };
        options.thresholds = best_thresholds(&fitting, &held_out, scale.threshold())?;
    }
    let evaluation = Evaluation::new(&predictions, &table, &split, &options)?;
    match (&args.out, &args.method) {
        (Some(out), Some(method)) => {
            dbloss::io::claim_folder(out, args.force)?;
            let run = RunDir::new(out);
            evaluation.write(&run.eval(args.set()))?;
            predictions.write(&run.eval(args.set()).join("predictions.csv"))?;
            let hash = dbloss::io::hash_file(file)?;
            Manifest::of_predictions(method, args.seed, &folder, &split.hash, hash)?
                .write(&run.manifest())?;
        }
        (Some(out), None) => {
            dbloss::io::claim_folder(out, args.force)?;
            evaluation.write(out)?;
        }
        (None, _) => {}
    }
    let evaluated = Evaluated {
        evaluation,
        predictions,
        table,
    };
    Ok((split, evaluated))
}

/// The predictions in `file`, of another run, in the order of `table`.
fn aligned(file: &Path, table: &LabelTable) -> Result<Predictions> {
    in_order(&Predictions::read(file)?, table, &[], file)
}

/// Predictions in the order of `table`; those of `others` are left out.
fn in_order(
    predictions: &Predictions,
    table: &LabelTable,
    others: &[&LabelTable],
    file: &Path,
) -> Result<Predictions> {
    Ok(Predictions {
        scores: predictions.align_part(table, others, file)?,
        classes: table.classes().to_vec(),
        images: table.images().to_vec(),
        scale: predictions.scale,
    })
}

/// One character, or `\t`.
fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [one] if one.is_ascii() && *one != b'"' => Ok(*one),
        _ => Err("expected one character, for example `;`, or `\\t` for a tab".into()),
    }
}
