//! `dbloss inspect`.

use std::path::PathBuf;

use dbloss::data::split::Set;
use dbloss::job::{Evaluate, EvaluateOther, Opened};
use dbloss::plan::tune::held_out;
use dbloss::report::evaluation::TrainedOn;
use dbloss::report::inspect::{Options, Part, page};
use dbloss::run_dir::{Checkpoint, Manifest, RunDir};
use dbloss::wording::counted;
use dbloss::{Error, Result, io};

use super::common::{MachineArgs, checkpoint_parser, class_named, free_file, set_parser};
use super::other_set::OtherSetArgs;
use super::output;

/// Make a page about a trained run, with pictures of its worst errors
///
/// The page shows the worst false positives and false negatives of each class, and for tail classes
/// every picture with the label; calibration; precision, recall and F1 by threshold; errors that
/// occur together; and labels that are probably wrong, including those of the training set if
/// `--folds` names a tuning whose trainings held its pictures out. Scores that `dbloss eval` has
/// written are reused; missing ones are computed and stored in the same place. With `--test-split`,
/// the page shows pictures of another data set, for the classes that it shares with the run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss inspect runs/shapes/db-focal-s0
  dbloss inspect runs/own-data/erm-s0 --on validation --per-class 20 --out errors.html
  dbloss inspect runs/own-data/erm-s0 --classes cow 'traffic light'
  dbloss inspect runs/own-data/erm-s0 --test-split splits/new
  dbloss inspect runs/own-tuned/final/subset/erm-s0 --folds runs/own-tuned")]
pub(super) struct Args {
    /// Folder of a trained run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Page to write; an existing one is replaced only with --force
    #[arg(short, long, default_value = "inspect.html", value_name = "FILE")]
    out: PathBuf,
    /// Replace the file
    #[arg(long)]
    force: bool,
    /// Which images of the run's split, or of `--test-split`
    #[arg(long, default_value = "test", value_name = "SET", value_parser = set_parser())]
    on: Set,
    #[command(flatten)]
    other: OtherSetArgs,
    /// The run's split, if it has moved
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Folder of a tuning (`dbloss tune`) of the run's method and training set: wrong labels of the
    /// training set are searched for with the scores of the folds that held its pictures out
    #[arg(long, value_name = "TUNED_DIR")]
    folds: Option<PathBuf>,
    /// Which checkpoint of the run: `last`, `best` on the validation part, or `epoch-N` if it was
    /// kept
    #[arg(long, default_value = "last", value_name = "WHICH", value_parser = checkpoint_parser())]
    checkpoint: Checkpoint,
    /// How many false positives, and how many false negatives, to show per class
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_class: u32,
    /// Only these classes
    #[arg(long, value_name = "NAME", num_args = 1..)]
    classes: Vec<String>,
    /// The longest side of a picture on the page, in pixels
    #[arg(long, default_value_t = 160, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=2048))]
    side: u32,
    /// Mebibytes that the pictures on the page may take; those beyond are left out, and the page
    /// says so
    #[arg(long, default_value_t = 24, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    room: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

/// The indices of the classes that are asked for.
fn chosen(names: &[String], classes: &[String]) -> Result<Vec<usize>> {
    let named = names
        .iter()
        .map(|name| class_named(classes, name, "--classes"));
    named.collect()
}

/// Checks that the page may be written to `--out`.
fn check_out(args: &Args) -> Result<()> {
    free_file(&args.out, args.force)?;
    let ending = args.out.extension().unwrap_or_default();
    if !["html", "htm"].contains(&&*ending.to_string_lossy().to_lowercase()) {
        let problem = format!("`{}` is not an HTML file", args.out.display());
        return Err(Error::argument("--out", problem).hint("choose a name that ends in `.html`"));
    }
    Ok(())
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    check_out(&args)?;
    let run = RunDir::new(&args.run);
    let Opened {
        experiment,
        split,
        split_folder,
    } = Opened::read(&run, args.split.as_deref())?;
    let manifest = Manifest::read(&run.manifest())?;
    let held_out = (args.folds.as_deref())
        .map(|tuned| {
            let files = held_out(tuned, &manifest.method)?;
            Part::held_out(&split, &split_folder, &files)
        })
        .transpose()?;
    let other_set = args.other.set(args.on, None)?;
    let machine = args.machine.open()?;
    let evaluate = Evaluate {
        run: &run,
        experiment: &experiment,
        split: &split,
        split_folder: &split_folder,
        set: args.on,
        checkpoint: args.checkpoint,
        fit_thresholds: false,
    };
    let all: Vec<usize> = (0..split.classes().len()).collect();
    let (looked_at, known) = match &other_set {
        Some(set) => {
            let evaluate = EvaluateOther {
                model: &args.run,
                split_folder: args.split.as_deref(),
                set,
                checkpoint: args.checkpoint,
                fit_thresholds: false,
            };
            evaluate.part(&machine)?
        }
        None => (evaluate.part(&machine)?, all),
    };
    // With another data set, `--on` names a set of that one.
    let set = other_set.as_ref().map_or(args.on, |_| Set::Test);
    let validation = Evaluate { set, ..evaluate }.validation_part(&machine)?;
    let looked_at = looked_at.only(&known);
    let validation = validation.map(|part| part.only(&known));
    let held_out = held_out.map(|part| part.only(&known));
    let classes = chosen(&args.classes, looked_at.table.classes())?;
    let trained_on = TrainedOn::from(&split).only(&known);
    let options = Options {
        title: format!("A look at {} of {}", manifest.method, manifest.experiment),
        facts: vec![
            ("run", args.run.display().to_string()),
            ("seed", manifest.seed.to_string()),
            ("checkpoint", args.checkpoint.name()),
            ("trained by dbloss", manifest.version),
        ],
        per_class: args.per_class as usize,
        classes,
        side: args.side,
        most_bytes: (args.room as usize) << 20,
    };
    let page = page(
        &looked_at,
        validation.as_ref(),
        held_out.as_ref(),
        &trained_on,
        &options,
    )?;
    io::write_text(&args.out, &page)?;
    output::data(&format!(
        "{}: {} of the {} set, {:.1} MiB",
        args.out.display(),
        counted(looked_at.table.len(), "picture"),
        other_set.map_or(args.on.to_string(), |set| set.name),
        page.len() as f64 / f64::from(1 << 20)
    ));
    Ok(())
}
