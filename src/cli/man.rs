//! `dbloss man`.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use dbloss::Result;
use dbloss::io::{claim_folder, write_atomic};

use super::output;

/// Write manual pages, one per command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss man man1
  dbloss man ~/.local/share/man/man1 --force
  man ./man1/dbloss-run.1")]
pub(super) struct Args {
    /// Folder to write into
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
}

/// Runs the subcommand for the `whole` command line.
pub(super) fn run(args: Args, whole: Command) -> Result<()> {
    claim_folder(&args.folder, args.force)?;
    let mut whole = whole.disable_help_subcommand(true);
    whole.build();
    write(whole, &args.folder)?;
    output::data(&args.folder.join("dbloss.1").display().to_string());
    Ok(())
}

/// The page of `command`, and those of the commands below it.
fn write(command: Command, folder: &Path) -> Result<()> {
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in below.cloned().collect::<Vec<_>>() {
        write(below, folder)?;
    }
    let page = Man::new(command);
    let path = folder.join(page.get_filename());
    write_atomic(&path, |writer| Ok(page.render(writer)?))
}
