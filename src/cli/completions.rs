//! `dbloss completions`.

use clap::Command;
use clap_complete::Shell;

use dbloss::Result;

use super::output;

/// Print a script that completes commands and options in your shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss completions bash > ~/.local/share/bash-completion/completions/dbloss
  dbloss completions zsh > ~/.zfunc/_dbloss          # a folder in zsh's fpath
  dbloss completions fish > ~/.config/fish/completions/dbloss.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the subcommand for the `whole` command line.
pub(super) fn run(args: Args, mut whole: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "dbloss", &mut script);
    output::data(&String::from_utf8_lossy(&script));
    Ok(())
}
