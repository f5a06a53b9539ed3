//! The only place that prints. Data goes to stdout, everything else to stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use dbloss::rows::{self, Tables};
use dbloss::wording::printable;
use dbloss::{Error, Result};

/// How much is logged.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Verbosity {
    /// Log more (-v: details; -vv: everything)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Log only warnings and errors, and draw no progress bar
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Sends log lines to stderr; `DBLOSS_LOG` overrides the flags in tracing's filter syntax.
pub(crate) fn start_logging(verbosity: &Verbosity) {
    let default = match (verbosity.quiet, verbosity.verbose) {
        (true, _) => "warn",
        (_, 0) => "dbloss=info,warn",
        (_, 1) => "dbloss=debug,warn",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("DBLOSS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(dbloss::progress::log_writer)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .without_time();
    dbloss::progress::set_quiet(verbosity.quiet);
    // A second initialisation (in tests) is harmless.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init();
}

/// Writes data to stdout. A closed pipe (`dbloss ... | head`) ends the output quietly.
pub(crate) fn data(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write(&format!("{}{end}", printable(text)));
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: a list of objects, the rows of the CSV file of the same table; for several
    /// tables, an object that holds such a list under each file's name
    Json,
}

/// The option of every command that prints a table.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FormatArg {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How a reference is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum DocumentFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For documents
    Markdown,
}

/// Prints a table: its rows as JSON, or what `text` makes of them for people.
pub(crate) fn table<T: Serialize + DeserializeOwned>(
    FormatArg { format }: FormatArg,
    rows: Vec<T>,
    text: impl FnOnce(&[T]) -> String,
) -> Result<()> {
    match format {
        Format::Text => data(&text(&rows)),
        Format::Json => data(&rows::to_json(&rows)?),
    }
    Ok(())
}

/// Prints several tables: as one object of JSON, or what `text` says for people.
pub(crate) fn tables(
    FormatArg { format }: FormatArg,
    tables: &Tables,
    text: impl FnOnce() -> String,
) {
    match format {
        Format::Text => data(&text()),
        Format::Json => data(&tables.to_json()),
    }
}

/// Writes a part of the data that a program may read: on a terminal what it can show, elsewhere
/// every byte. `Break` where nobody reads any more.
pub(crate) fn part(text: &str) -> ControlFlow<()> {
    match is_read_by_people() {
        true => write(&printable(text)),
        false => write(text),
    }
}

/// Whether stdout is a terminal.
pub(crate) fn is_read_by_people() -> bool {
    std::io::stdout().is_terminal()
}

fn write(text: &str) -> ControlFlow<()> {
    let mut stdout = std::io::stdout().lock();
    let written = (stdout.write_all(text.as_bytes())).and_then(|()| stdout.flush());
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ControlFlow::Break(()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: stdout: {error}");
            std::process::exit(1);
        }
    }
}

/// Prints an error with its hint to stderr and gives the exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: {}", printable(&error.to_string()));
    if let Some(hint) = error.remedy() {
        let _ = writeln!(stderr, "hint: {}", printable(hint));
    }
    if let Error::Io(io) = error
        && io.kind() == ErrorKind::NotFound
    {
        // The message quotes the path.
        let relative = match io.to_string().contains("`/") {
            true => "",
            false => "; relative paths start from the working directory",
        };
        let _ = writeln!(stderr, "hint: check the path{relative}");
    }
    ExitCode::from(error.exit_code())
}
