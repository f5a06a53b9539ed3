//! `dbloss predict`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use dbloss::data::augment::TestTimeConfig;
use dbloss::data::paths::PicturePaths;
use dbloss::job::{Ensemble, Machine, Opening, Tally};
use dbloss::progress::{self, human_seconds};
use dbloss::report::labelling::{Choice, LabelFormat, Labelling};
use dbloss::run_dir::Checkpoint;
use dbloss::wording::{counted, first_named};
use dbloss::{Error, Result, io};

use super::common::{MachineArgs, checkpoint_parser, free_file};
use super::output;

const EXAMPLES: &str = "\
Examples:
  dbloss predict runs/own-data/erm-s0 photos/
  find /pictures -name '*.jpg' | dbloss predict runs/own-data/erm-s0 - > labels.csv
  dbloss predict runs/own-data/erm-s0 a.jpg b.jpg --top 3
  An ensemble of three seeds, with one threshold for all classes:
    dbloss predict runs/own-data/erm-s0 --with runs/own-data/erm-s1 \\
      --with runs/own-data/erm-s2 photos/ --threshold 0.5
  Scores that `dbloss eval --predictions` reads:
    dbloss predict runs/own-data/erm-s0 photos/ --format predictions > scores.csv";

/// Label pictures with a trained run
///
/// Writes the labels of each picture and the probability of every class, in the order of the
/// pictures. A class becomes a label if its probability is above its threshold: the one with the
/// best F1 on the validation part of the run's split, which is fitted once and kept in
/// `eval/validation/` of the run. A picture that cannot be read is reported and left out, and the
/// exit code is then 5. See docs/predict.md.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Folder of a trained run, or a file that `dbloss export` wrote
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Pictures: files, folders (with all their subfolders), or `-` to read paths from stdin, one
    /// per line
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Another run with the same classes, in any order; the probabilities of all runs are averaged;
    /// may be repeated
    #[arg(long = "with", value_name = "RUN_DIR")]
    others: Vec<PathBuf>,
    /// Which checkpoint of the run: `last`, `best` on the validation part, or `epoch-N` if it was
    /// kept
    #[arg(long, default_value = "last", value_name = "WHICH", value_parser = checkpoint_parser())]
    checkpoint: Checkpoint,
    /// The run's split, if it has moved; its validation part gives the thresholds
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Probability above which a class becomes a label, the same for all classes
    #[arg(long, value_name = "P", value_parser = part)]
    threshold: Option<f64>,
    /// Take the K most probable classes as labels; with `--threshold`, only those above it
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Output format: labels and probabilities as `csv`, as JSON lines (`jsonl`) or as a `table`
    /// for people, or the scores alone, as `eval` writes and reads them (`predictions`) [default:
    /// table on a terminal, csv elsewhere]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<LabelFormat>,
    /// File to write instead of stdout; it appears only once it is complete
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file of `--out`
    #[arg(long, requires = "out")]
    force: bool,
    /// Test-time augmentation, which averages the scores of several views: none, the picture and
    /// its mirror image, five crops, or both [default: the run's `input.test_time`]
    #[arg(long, value_name = "VIEWS", value_parser = PossibleValuesParser::new(VIEWS))]
    tta: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
}

const VIEWS: [&str; 4] = ["none", "flip", "crops", "flip+crops"];

fn format_parser() -> impl TypedValueParser<Value = LabelFormat> {
    PossibleValuesParser::new(LabelFormat::ALL.map(|(_, name)| name)).map(|name| {
        let named = LabelFormat::ALL
            .into_iter()
            .find(|(_, known)| *known == name);
        named.map_or(LabelFormat::Csv, |(format, _)| format)
    })
}

/// A probability.
fn part(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    number.ok_or_else(|| "expected a probability, from 0 to 1".to_owned())
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let on_screen = args.out.is_none() && output::is_read_by_people();
    let format = args.format.unwrap_or(match on_screen {
        true => LabelFormat::Table,
        false => LabelFormat::Csv,
    });
    let writes_labels = format != LabelFormat::Predictions;
    if let (false, Some(option)) = (writes_labels, args.choosing_option()) {
        let problem = "has no effect with `--format predictions`, which writes no labels";
        return Err(Error::argument(option, problem).hint("leave out one of the two"));
    }
    if let Some(file) = &args.out {
        free_file(file, args.force)?;
    }
    if on_screen {
        // A bar would stand between the lines.
        progress::set_quiet(true);
    }
    let machine = args.machine.open()?;
    let opening = Opening {
        checkpoint: args.checkpoint,
        split_folder: args.split.as_deref(),
        thresholds: writes_labels && args.choosing_option().is_none(),
        machine: &machine,
    };
    let runs: Vec<&Path> = [&args.run]
        .into_iter()
        .chain(&args.others)
        .map(PathBuf::as_path)
        .collect();
    let mut ensemble = Ensemble::open(&runs, &opening)?;
    if let Some(views) = &args.tta {
        ensemble.change_views(|config| set_views(views, config));
    }
    let choice = args.choice(&ensemble, opening.thresholds)?;
    let labelling = Labelling::new(format, ensemble.classes(), ensemble.scale(), choice);
    let start = Instant::now();
    let tally = match &args.out {
        None => args.label(&ensemble, labelling, &machine, &mut |text| {
            Ok(output::part(text))
        })?,
        Some(file) => {
            let mut tally = None;
            io::write_atomic(file, |writer| {
                let mut put = |text: &str| {
                    writer.write_all(text.as_bytes())?;
                    Ok(ControlFlow::Continue(()))
                };
                tally = args.label(&ensemble, labelling, &machine, &mut put)?;
                // Of no picture there is no file.
                tally.map_or(Ok(()), some_predicted)
            })?;
            tally
        }
    };
    // None where nobody reads what is printed.
    tally.map_or(Ok(()), |tally| tell(tally, start.elapsed().as_secs_f64()))
}

/// An error where no picture has scores.
fn some_predicted(Tally { predicted, unread }: Tally) -> Result<()> {
    if predicted + unread == 0 {
        return Err(Error::argument("PATH", "names no picture").hint(
            "name picture files or folders that contain some, or pass `-` and give paths on stdin",
        ));
    }
    if predicted == 0 {
        let all = counted(unread as usize, "picture");
        return Err(Error::input(
            "predict",
            format_args!("none of {all} could be read"),
        ));
    }
    Ok(())
}

/// Says what became of the pictures.
fn tell(tally: Tally, seconds: f64) -> Result<()> {
    some_predicted(tally)?;
    let Tally { predicted, unread } = tally;
    let all = counted((predicted + unread) as usize, "picture");
    tracing::info!(
        "{} in {}, {:.1} a second",
        counted(predicted as usize, "picture"),
        human_seconds(seconds),
        predicted as f64 / seconds
    );
    match unread {
        0 => Ok(()),
        _ => Err(Error::unfinished(format_args!(
            "{unread} of {all} could not be read; each is named above"
        ))),
    }
}

fn set_views(views: &str, config: &mut TestTimeConfig) {
    config.flip = views.contains("flip");
    config.crops = if views.contains("crops") { 5 } else { 1 };
}

impl Args {
    /// Labels every picture, and puts the lines of each through `put`; `None` where nobody wants the
    /// first.
    fn label(
        &self,
        ensemble: &Ensemble,
        mut labelling: Labelling,
        machine: &Machine,
        put: &mut dyn FnMut(&str) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Tally>> {
        let mut paths = PicturePaths::new(self.paths.clone(), std::io::stdin().lock());
        if put(&labelling.header()?)?.is_break() {
            return Ok(None);
        }
        let tally = ensemble.predict(&mut paths, machine, &mut |image, scores| {
            put(&labelling.line(image, scores)?)
        })?;
        let passed_over = paths.passed_over();
        if passed_over > 0 {
            let files = counted(passed_over as usize, "file");
            tracing::info!(
                "{files} in the folders skipped: their endings are not those of pictures"
            );
        }
        Ok(Some(tally))
    }

    /// The option that says which classes are labels, if there is one.
    fn choosing_option(&self) -> Option<&'static str> {
        match (self.threshold, self.top) {
            (Some(_), _) => Some("--threshold"),
            (None, Some(_)) => Some("--top"),
            (None, None) => None,
        }
    }

    /// Which classes are labels; `fitted` where the validation part says so.
    fn choice(&self, ensemble: &Ensemble, fitted: bool) -> Result<Choice> {
        let (scale, classes) = (ensemble.scale(), ensemble.classes());
        let thresholds = match (self.threshold, fitted) {
            (Some(probability), _) => vec![scale.of_probability(probability); classes.len()],
            (None, false) => vec![f64::NEG_INFINITY; classes.len()],
            (None, true) => self.fitted(ensemble)?,
        };
        Ok(Choice {
            thresholds,
            top: self.top.map(|top| top as usize),
        })
    }

    /// The thresholds of the validation part, with one half where it gives none.
    fn fitted(&self, ensemble: &Ensemble) -> Result<Vec<f64>> {
        let (half, classes) = (ensemble.scale().threshold(), ensemble.classes());
        let Some(fitted) = ensemble.thresholds(self.checkpoint)? else {
            let why = match self.others.is_empty() {
                true => "the run has no validation part to take thresholds from",
                false => "the runs share no validation part to take thresholds from",
            };
            tracing::warn!(
                "{why}: a class becomes a label above a probability of 0.5 (change it with `--threshold`)"
            );
            return Ok(vec![half; classes.len()]);
        };
        let pairs = classes.iter().zip(&fitted);
        let without = pairs.filter(|(_, threshold)| threshold.is_none());
        let without: Vec<&str> = without.map(|(class, _)| class.as_str()).collect();
        if !without.is_empty() {
            tracing::warn!(
                "{} without a picture in the validation part, so the threshold is a probability of 0.5: {}",
                counted(without.len(), "class"),
                first_named(without)
            );
        }
        if self.tta.is_some() {
            tracing::info!(
                "the thresholds were fitted with the run's own views, not with those of `--tta`"
            );
        }
        Ok(fitted.into_iter().map(|t| t.unwrap_or(half)).collect())
    }
}
