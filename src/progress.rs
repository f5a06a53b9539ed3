//! Progress of long work: a bar with ETA on a terminal, log lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Disables (or enables again) the display and logging of progress.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Returns a writer to stderr for log lines that leaves a progress bar below them intact.
pub fn log_writer() -> impl Write {
    struct Lines(Vec<u8>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl Drop for Lines {
        fn drop(&mut self) {
            bars().suspend(|| {
                let _ = std::io::stderr().write_all(&self.0);
            });
        }
    }
    Lines(Vec::new())
}

/// Progress of work.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    /// Total number of steps; `None` if it is unknown.
    total: Option<u64>,
    done: u64,
    start: Instant,
    last_line: Instant,
    message: String,
}

/// Without a terminal, the shortest interval between log lines.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

impl Progress {
    /// Starts work of `total` steps. `label` describes it, for example `train db-focal`.
    pub fn new(label: impl Into<String>, total: u64) -> Self {
        Self::start(label.into(), Some(total))
    }

    /// Starts work of an unknown number of steps, for which the speed is shown.
    pub fn open_ended(label: impl Into<String>) -> Self {
        Self::start(label.into(), None)
    }

    fn start(label: String, total: Option<u64>) -> Self {
        let quiet = QUIET.load(Ordering::Relaxed);
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let (bar, style) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{prefix} [{bar:30}] {pos}/{len} {msg} eta {eta}",
                ),
                None => (ProgressBar::no_length(), "{prefix} {pos} {per_sec} {msg}"),
            };
            let bar = bars().add(bar);
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> "),
            );
            bar.set_prefix(label.clone());
            bar
        });
        let now = Instant::now();
        Progress {
            bar,
            label,
            total,
            done: 0,
            start: now,
            last_line: now,
            message: String::new(),
        }
    }

    /// Sets what is shown beside the count, for example the loss and the pictures per second.
    pub fn message(&mut self, message: impl Into<String>) {
        self.message = message.into();
        if let Some(bar) = &self.bar {
            bar.set_message(self.message.clone());
        }
    }

    /// Counts `steps` as done before this process, by a run that is resumed. They do not affect the
    /// ETA.
    pub fn skip(&mut self, steps: u64) {
        self.total = self.total.map(|total| total.saturating_sub(steps));
        if let Some(bar) = &self.bar {
            bar.set_position(steps);
            bar.reset_eta();
        }
    }

    /// Counts `steps` more as done.
    pub fn advance(&mut self, steps: u64) {
        self.done += steps;
        if let Some(bar) = &self.bar {
            bar.inc(steps);
            return;
        }
        let is_over = self.total.is_some_and(|total| self.done >= total);
        if is_over || self.last_line.elapsed() < LINE_INTERVAL || QUIET.load(Ordering::Relaxed) {
            return;
        }
        self.last_line = Instant::now();
        let Progress {
            label,
            done,
            message,
            ..
        } = self;
        let elapsed = self.start.elapsed().as_secs_f64();
        match self.total {
            Some(total) => {
                let left = elapsed / (*done).max(1) as f64 * (total - *done) as f64;
                let left = human_seconds(left);
                tracing::info!("{label}: {done}/{total} {message} eta {left}");
            }
            None => tracing::info!("{label}: {done} {:.1}/s {message}", *done as f64 / elapsed),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Formats a duration for people: `42 s`, `3 min 05 s`, `2 h 10 min`.
pub fn human_seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::human_seconds;

    #[test]
    fn durations_read_well() {
        let texts = [0.4, 59.4, 185.0, 7800.0].map(human_seconds);
        assert_eq!(texts, ["0 s", "59 s", "3 min 05 s", "2 h 10 min"]);
    }
}
