//! `steps.csv`, `epochs.csv` and `epoch_times.csv`: the course of the training row by row, in a
//! form that can be cut back on resuming.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{EpochRecord, EpochTime, StepRecord};
use super::tensorboard::EventWriter;
use crate::error::{Error, Result};
use crate::rows;
use crate::run_dir::RunDir;

/// Appends rows to the files of a run.
pub struct Recorder {
    steps: csv::Writer<fs_err::File>,
    epochs: csv::Writer<fs_err::File>,
    timings: csv::Writer<fs_err::File>,
    last_flush: Instant,
    events: Option<EventWriter>,
}

/// Readers of the files see a step after at most this delay.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

impl Recorder {
    /// Opens the files of a run, keeping the first `steps` and `epochs` of their rows.
    pub fn open(run: &RunDir, steps: usize, epochs: usize) -> Result<Self> {
        // Earlier versions did not write this file, and nothing depends on it.
        let mut timings: Vec<EpochTime> =
            first_rows(&run.epoch_times(), epochs).unwrap_or_default();
        timings.retain(|row| row.epoch < epochs);
        Ok(Recorder {
            steps: open_after::<StepRecord>(&run.steps(), steps)?,
            epochs: open_after::<EpochRecord>(&run.epochs(), epochs)?,
            timings: open_with(&run.epoch_times(), timings)?,
            last_flush: Instant::now(),
            events: None,
        })
    }

    /// Writes everything from now on to `events` too.
    pub fn with_events(mut self, events: Option<EventWriter>) -> Self {
        self.events = events;
        self
    }

    /// Adds a step.
    pub fn step(&mut self, record: &StepRecord) -> Result<()> {
        append(&mut self.steps, record)?;
        if let Some(events) = &mut self.events {
            events.step(record)?;
        }
        match self.last_flush.elapsed() >= FLUSH_INTERVAL {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Adds an epoch whose last step was `last_step`, and flushes the files.
    pub fn epoch(
        &mut self,
        record: &EpochRecord,
        time: &EpochTime,
        last_step: usize,
    ) -> Result<()> {
        append(&mut self.epochs, record)?;
        append(&mut self.timings, time)?;
        if let Some(events) = &mut self.events {
            events.epoch(record, Some(time), last_step)?;
        }
        self.sync()
    }

    /// Makes the rows so far visible to readers.
    pub fn flush(&mut self) -> Result<()> {
        self.last_flush = Instant::now();
        self.steps.flush()?;
        self.timings.flush()?;
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        Ok(self.epochs.flush()?)
    }

    /// Flushes and syncs to disk: a checkpoint written after this never refers to rows that a
    /// system crash could lose.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.steps.get_ref().file().sync_data()?;
        Ok(self.epochs.get_ref().file().sync_data()?)
    }
}

fn append(csv: &mut csv::Writer<fs_err::File>, record: &impl Serialize) -> Result<()> {
    let written = csv.serialize(record);
    written.map_err(|e| rows::failed(csv.get_ref().path(), e))
}

/// Cuts a CSV file of rows `T` back to its header and its first `keep` rows, and opens it for
/// appending.
///
/// # Errors
/// Fails if it has fewer rows.
fn open_after<T: Serialize + DeserializeOwned>(
    path: &Path,
    keep: usize,
) -> Result<csv::Writer<fs_err::File>> {
    let kept = first_rows::<T>(path, keep)?;
    if kept.len() < keep {
        let problem = format!("has {} rows, the checkpoint knows of {keep}", kept.len());
        return Err(Error::file(path, problem)
            .hint("restore the file, or start the run again with `--force`"));
    }
    open_with(path, kept)
}

/// Reads the first rows of a file, at most `keep`; none if it does not exist.
fn first_rows<T: DeserializeOwned>(path: &Path, keep: usize) -> Result<Vec<T>> {
    match keep > 0 && path.is_file() {
        true => rows::read_first(path, keep),
        false => Ok(Vec::new()),
    }
}

/// Rewrites a CSV file with these rows, and opens it for appending.
fn open_with<T: Serialize + DeserializeOwned>(
    path: &Path,
    kept: Vec<T>,
) -> Result<csv::Writer<fs_err::File>> {
    // Numbers are written with all digits, so the rows are unchanged.
    rows::write(path, kept)?;
    let file = fs_err::OpenOptions::new().append(true).open(path)?;
    let mut builder = csv::WriterBuilder::new();
    Ok(builder.has_headers(false).from_writer(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_cuts_rows_that_the_checkpoint_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let record = |step| StepRecord {
            step,
            epoch: 0,
            learning_rate: 0.1,
            loss: 1.5,
            gradient_norm: 2.0,
        };
        let mut recorder = Recorder::open(&run, 0, 0).unwrap();
        (0..5).for_each(|i| recorder.step(&record(i)).unwrap());
        recorder.flush().unwrap();
        let mut resumed = Recorder::open(&run, 3, 0).unwrap();
        resumed.step(&record(3)).unwrap();
        resumed.flush().unwrap();
        let text = fs_err::read_to_string(run.steps()).unwrap();
        let rows = "0,0,0.1,1.5,2\n1,0,0.1,1.5,2\n2,0,0.1,1.5,2\n3,0,0.1,1.5,2\n";
        assert_eq!(
            text,
            format!("step,epoch,learning_rate,loss,gradient_norm\n{rows}")
        );
    }
}
