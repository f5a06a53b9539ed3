//! `dbloss report`.

use std::path::PathBuf;

use dbloss::Result;
use dbloss::data::split::Set;
use dbloss::io::claim_folder;
use dbloss::report::study::{Options, Study};

use super::common::{set_parser, tell_of_bootstrap};
use super::output::{self, FormatArg};

/// Compare many runs: tables for a paper, tests between methods, pictures, one page
///
/// Takes the folders of runs, or folders that hold them at any depth, and compares their methods
/// over their seeds. Printed are mAP (mean and standard deviation over seeds) and the gain of each
/// method over a baseline with its tests: a paired jackknife over the test images, where
/// predictions and split are there, and paired t and Wilcoxon tests over classes and over seeds, all
/// corrected after Holm.
///
/// For the benchmarks of the paper its figures stand beside ours, in columns of their own.
/// Unfinished runs, and those without an evaluation, are listed and left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Files in DIR:
  index.html                     everything on one page that needs no other file
  table.csv, .md, .tex           a row a method; the best bold, the second underlined
  per_class.csv, .tex            a row a class; report.tex is a document with both tables
  tests.csv, runs.csv            every test, every run
  ranks.csv, ranks.svg           mean ranks, and which methods they do not tell apart
  settings.csv                   the settings that differ between methods
  methods.svg, per_class.svg, gain.svg, training_count.svg, learning.svg, precision_recall.svg

Examples:
  dbloss report runs/voc07 --out voc07-report
  dbloss report runs/voc-mlt runs/voc-mlt-ablation-mu --baseline db-focal --out mu-report")]
pub(super) struct Args {
    /// Folders of runs, or folders that hold them
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<PathBuf>,
    /// The folder that the report goes into
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
    /// The method that the others are compared with [default: erm, else the first]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// An option of 0.1.0: intervals are no bootstrap any more
    #[arg(long, value_name = "N", hide = true)]
    bootstrap: Option<usize>,
    /// Which evaluation of the runs
    #[arg(long, default_value = "test", value_name = "SET", value_parser = set_parser())]
    on: Set,
    /// Title of the report [default: the names of the experiments]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Compare runs on different splits with the same classes; there is no test over images then
    #[arg(long)]
    allow_different_splits: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    tell_of_bootstrap(args.bootstrap);
    let options = Options {
        baseline: args.baseline,
        set: args.on,
        title: args.title,
        allow_different_splits: args.allow_different_splits,
    };
    let study = Study::read(&args.runs, &options)?;
    claim_folder(&args.out, args.force)?;
    study.write(&args.out)?;
    output::tables(args.format, &study.tables()?, || study.to_terminal());
    tracing::info!("wrote {}", args.out.join("index.html").display());
    Ok(())
}
