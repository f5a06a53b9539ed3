//! `steps.csv` and `epochs.csv`: what happened, row by row, in a form that resuming can cut back.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{EpochRecord, StepRecord};
use super::tensorboard::EventWriter;
use crate::error::{Error, Result};
use crate::io::write_text;
use crate::rows;
use crate::run_dir::RunDir;

/// Appends rows to the two files of a run.
pub struct Recorder {
    steps: csv::Writer<fs_err::File>,
    epochs: csv::Writer<fs_err::File>,
    last_flush: Instant,
    events: Option<EventWriter>,
}

/// Whoever watches the files sees a step at most this much later.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

impl Recorder {
    /// Opens the files of a run, keeping the first `steps` and `epochs` rows of what is there.
    pub fn open(run: &RunDir, steps: usize, epochs: usize) -> Result<Self> {
        Ok(Recorder {
            steps: open_after::<StepRecord>(&run.steps(), steps)?,
            epochs: open_after::<EpochRecord>(&run.epochs(), epochs)?,
            last_flush: Instant::now(),
            events: None,
        })
    }

    /// Writes everything from now on into `events` too.
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

    /// Adds an epoch, whose last step was `last_step`, and flushes the files.
    pub fn epoch(&mut self, record: &EpochRecord, last_step: usize) -> Result<()> {
        append(&mut self.epochs, record)?;
        if let Some(events) = &mut self.events {
            events.epoch(record, last_step)?;
        }
        self.sync()
    }

    /// Makes the rows so far visible to readers.
    pub fn flush(&mut self) -> Result<()> {
        self.last_flush = Instant::now();
        self.steps.flush()?;
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        Ok(self.epochs.flush()?)
    }

    /// Flushes, and waits for the disk: a checkpoint written after this never knows of rows that
    /// a crash of the machine could take away.
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

/// Cuts a CSV of rows `T` back to its header and `keep` rows, and opens it for appending.
fn open_after<T: DeserializeOwned>(path: &Path, keep: usize) -> Result<csv::Writer<fs_err::File>> {
    let mut kept = format!("{}\n", rows::columns::<T>().join(","));
    if keep > 0 && path.is_file() {
        // The rows as they are: numbers, none of which holds a line's end.
        let file = BufReader::new(fs_err::File::open(path)?);
        let columns = rows::columns::<T>().len();
        for line in file.lines().skip(1).take(keep) {
            let line = line?;
            kept.push_str(&line);
            // An earlier version may not have had the last columns.
            let found = line.split(',').count();
            kept.extend(std::iter::repeat_n(',', columns.saturating_sub(found)));
            kept.push('\n');
        }
    }
    let found = kept.lines().count() - 1;
    if found < keep {
        let problem = format!("has {found} rows, the checkpoint knows of {keep}");
        return Err(Error::file(path, problem)
            .hint("restore the file, or start the run anew with `--force`"));
    }
    write_text(path, &kept)?;
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
