//! The command line: one file a subcommand, each turns arguments into a call of the library.

use clap::{CommandFactory, Parser, Subcommand};

use dbloss::Result;
use dbloss::error::EXIT_CODES;

pub(crate) mod output;

mod common;

mod bench;
mod completions;
mod config;
mod eval;
mod export;
mod features;
mod init;
mod inspect;
mod loss;
mod man;
mod other_set;
mod plan;
mod predict;
mod report;
mod run;
mod source;
mod split;
mod stats;
mod sweep;
mod sweep_task;
mod train;
mod tune;
mod view;
mod watch;

/// Train and compare classifiers for multi-label images with long-tailed classes.
#[derive(Debug, Parser)]
#[command(
    name = "dbloss",
    bin_name = "dbloss",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = exit_codes()
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub verbosity: output::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Box<init::Args>),
    Split(Box<split::Args>),
    Stats(stats::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Export(export::Args),
    Run(Box<run::Args>),
    Sweep(Box<sweep::Args>),
    Tune(Box<tune::Args>),
    #[command(hide = true)]
    SweepTask(sweep_task::Args),
    Report(report::Args),
    Inspect(Box<inspect::Args>),
    Config(config::Args),
    Features(features::Args),
    Loss(loss::Args),
    View(view::Args),
    Watch(watch::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The exit codes as the help shows them.
fn exit_codes() -> String {
    let lines = (EXIT_CODES.iter()).map(|(code, meaning)| format!("\n  {code:>3}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}

impl Cli {
    /// Runs the subcommand.
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Init(args) => init::run(*args),
            Command::Split(args) => split::run(*args),
            Command::Stats(args) => stats::run(args),
            Command::Train(args) => train::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Predict(args) => predict::run(args),
            Command::Export(args) => export::run(args),
            Command::Run(args) => run::run(*args),
            Command::Sweep(args) => sweep::run(*args),
            Command::Tune(args) => tune::run(*args),
            Command::SweepTask(args) => sweep_task::run(args),
            Command::Report(args) => report::run(args),
            Command::Inspect(args) => inspect::run(*args),
            Command::Config(args) => config::run(args),
            Command::Features(args) => features::run(args),
            Command::Loss(args) => loss::run(args),
            Command::View(args) => view::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Completions(args) => completions::run(args, Cli::command()),
            Command::Man(args) => man::run(args, Cli::command()),
        }
    }
}
