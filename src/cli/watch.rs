//! `dbloss watch`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use dbloss::Result;
use dbloss::interrupt;
use dbloss::run_dir::RunDir;
use dbloss::watch::Watch;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::output;

/// Show live curves of a run in the terminal
///
/// Shows loss, learning rate, validation mAP and speed, during training or afterwards; `q` quits.
/// If the output is not a terminal, the latest values are printed instead, one per line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss watch runs/shapes/db-focal-s0
  dbloss watch runs/shapes/db-focal-s0 --once")]
pub(super) struct Args {
    /// The run's folder
    run: PathBuf,
    /// Print the latest values and exit
    #[arg(long)]
    once: bool,
    /// Seconds between updates
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    interval: f64,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let mut watch = Watch::new(RunDir::new(args.run))?;
    if args.once || !std::io::stdout().is_terminal() {
        let lines = watch
            .newest()
            .into_iter()
            .filter(|(_, value)| !value.is_empty());
        let lines: Vec<String> = lines
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        output::data(&lines.join("\n"));
        return Ok(());
    }
    let interval =
        Duration::try_from_secs_f64(args.interval.clamp(0.05, 3600.0)).unwrap_or_default();
    interrupt::listen()?;
    // Also puts the terminal back if something panics.
    let mut terminal = ratatui::try_init()?;
    let result = follow(&mut watch, &mut terminal, interval);
    ratatui::try_restore()?;
    result
}

fn follow(
    watch: &mut Watch,
    terminal: &mut ratatui::DefaultTerminal,
    interval: Duration,
) -> Result<()> {
    while !interrupt::requested() {
        watch.update()?;
        terminal.draw(|frame| watch.draw(frame))?;
        let next = std::time::Instant::now() + interval;
        while !interrupt::requested() {
            let left = next.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            // In short waits, so that a signal is seen soon.
            if !event::poll(left.min(Duration::from_millis(200)))? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        return Ok(());
                    }
                    _ => {}
                },
                Event::Resize(..) => {
                    terminal.draw(|frame| watch.draw(frame))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
