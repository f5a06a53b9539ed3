//! Entry point: parses arguments, sets up logging, dispatches, and returns the exit code.

#![warn(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]
#![warn(clippy::too_many_lines)]

use std::process::ExitCode;

use clap::Parser;

mod cli;

fn main() -> ExitCode {
    dbloss::ops::keep_freed_memory();
    let cli = cli::Cli::parse();
    cli::output::start_logging(&cli.verbosity);
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::output::report(&error),
    }
}
