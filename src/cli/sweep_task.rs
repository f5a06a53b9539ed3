//! `dbloss sweep-task`: one run of a sweep, as an executor starts it.

use std::path::PathBuf;

use dbloss::interrupt;
use dbloss::plan::{Plan, Replace, requeue_or_leave, run_task};
use dbloss::{Error, Result};

use super::common::MachineArgs;

/// Run one run of a sweep; `dbloss sweep` calls this
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's folder
    home: PathBuf,
    /// The run, by name
    #[arg(long, value_name = "NAME", required_unless_present = "index")]
    run: Option<String>,
    /// The run, by its number in the sweep
    #[arg(long, value_name = "N", conflicts_with = "run")]
    index: Option<usize>,
    /// Save and stop when this process, the parent, is gone
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
    /// A task of Slurm's: go back into the queue after a signal
    #[arg(long)]
    slurm: bool,
    /// Replace a run of another configuration
    #[arg(long)]
    force: bool,
    /// Train the run again even if it is finished
    #[arg(long, conflicts_with = "force")]
    again: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match args.slurm {
        true => interrupt::listen_patiently()?,
        false => interrupt::listen()?,
    }
    if let Some(parent) = args.parent {
        interrupt::follow_parent(parent)?;
    }
    let plan = match (&args.run, args.index) {
        (Some(name), _) => Plan::open_run(&args.home, name)?,
        (None, index) => Plan::open_index(&args.home, index.unwrap_or_default())?,
    };
    let run = &plan.runs[0];
    let machine = args.machine.open()?;
    let replace = match (args.again, args.force) {
        (true, _) => Replace::Everything,
        (_, true) => Replace::Others,
        _ => Replace::Nothing,
    };
    match run_task(&plan, run, &machine, replace) {
        Err(error @ Error::Interrupted(_)) if args.slurm => {
            tracing::info!("{}: {error}", run.name);
            if requeue_or_leave()? {
                tracing::info!("{}: back in the queue", run.name);
            }
            Err(error)
        }
        other => other,
    }
}
