//! `dbloss report`.

use std::path::PathBuf;

use dbloss::Result;
use dbloss::data::split::Set;
use dbloss::io::claim_folder;
use dbloss::report::study::{Options, Study};

use super::common::{set_parser, tell_of_bootstrap};
use super::output::{self, FormatArg};

/// Compare many runs: tables for a paper, tests between methods, charts, one page
///
/// Takes folders of runs, or folders that contain them at any depth, and compares methods over
/// their seeds. It prints mAP (mean and standard deviation over seeds) and each method's gain over
/// a baseline with tests: a paired jackknife over the test images, if predictions and split are
/// available, and paired t and Wilcoxon tests over classes and over seeds, all Holm-corrected.
///
/// On the paper's benchmarks, the published figures stand in columns of their own. Unfinished runs
/// and runs without an evaluation are listed and left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Files in DIR:
  index.html                     everything on one page, which needs no other file
  table.csv, .md, .tex           one row per method; the best bold, the second underlined
  per_class.csv, .tex            one row per class; report.tex is a document with both tables
  tests.csv, runs.csv            one row per test and per run
  ranks.csv, ranks.svg           mean ranks, and which methods they cannot tell apart
  settings.csv                   the settings that differ between methods
  methods.svg, per_class.svg, gain.svg, training_count.svg, learning.svg, precision_recall.svg

Examples:
  dbloss report runs/voc07 --out voc07-report
  dbloss report runs/voc-mlt runs/voc-mlt-ablation-mu --baseline db-focal --out mu-report")]
pub(super) struct Args {
    /// Folders of runs, or folders that contain them
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<PathBuf>,
    /// Folder to write the report to
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
    /// Method that the others are compared with [default: erm, or else the first]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// An option of 0.1.0: intervals are no bootstrap any more
    #[arg(long, value_name = "N", hide = true)]
    bootstrap: Option<usize>,
    /// Which evaluation of the runs to compare
    #[arg(long, default_value = "test", value_name = "SET", value_parser = set_parser())]
    on: Set,
    /// Title of the report [default: the names of the experiments]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Also compare runs on different splits with the same classes, without the test over images
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
