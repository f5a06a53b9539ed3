//! `dbloss stats`.

use std::path::PathBuf;

use dbloss::Result;
use dbloss::data::split::{Set, Split};
use dbloss::io::claim_folder;
use dbloss::report::stats::{self, SplitStatistics};

use super::output::{self, FormatArg};

const EXAMPLES: &str = "\
Examples:
  dbloss stats splits/voc-mlt
  dbloss stats splits/voc-mlt --out voc-mlt-report";

/// Describe a split: counts, imbalance, co-occurrence.
///
/// Reads and checks the split folder, and prints the table of classes and a summary. With --out it
/// also writes CSV tables, SVG charts and one self-contained page, report.html.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The split folder
    #[arg(value_name = "SPLIT")]
    split: PathBuf,
    /// Write the report's tables, charts and page to this folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that is not empty
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let split = Split::read(&args.split)?;
    if let Some(problem) = split.check_pictures(&Set::ALL).problem() {
        tracing::warn!("{problem}");
    }
    let statistics = SplitStatistics::new(&split)?;
    output::tables(args.format, &statistics.tables(&split)?, || {
        let table = stats::class_table(&split);
        format!("{table}{}", stats::summary(&statistics))
    });
    if let Some(out) = &args.out {
        claim_folder(out, args.force)?;
        stats::write_report(&split, &title(&args.split), out)?;
        tracing::info!("wrote {}", out.join("report.html").display());
    }
    Ok(())
}

/// The title of a split's page: its folder's name.
pub(super) fn title(split: &std::path::Path) -> String {
    let path = std::path::absolute(split).unwrap_or_else(|_| split.to_path_buf());
    match path.file_name() {
        Some(name) => format!("Split {}", name.to_string_lossy()),
        None => "Split".into(),
    }
}
