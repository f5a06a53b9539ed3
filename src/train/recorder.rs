//! `steps.csv` and `epochs.csv`: what happened, row by row, in a form that resuming can cut back.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::tensorboard::EventWriter;
use crate::error::{Error, Result};
use crate::io::write_text;

/// One training step. Nothing in it depends on the clock: equal runs write equal files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRecord {
    /// Step over the whole training, from 0.
    pub step: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Loss of the batch.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
}

/// One epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochRecord {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Mean loss over its steps.
    pub loss: f64,
    /// mAP on the validation part, if there is one.
    pub validation_map: Option<f64>,
    /// Training time of the epoch in this process, seconds.
    pub seconds: f64,
    /// Training images a second in this process; `None` if it trained none of the epoch.
    pub images_per_second: Option<f64>,
}

const STEP_HEADER: &str = "step,epoch,learning_rate,loss,gradient_norm";
const EPOCH_HEADER: &str = "epoch,loss,validation_map,seconds,images_per_second";

/// Appends rows to the two files of a run.
pub struct Recorder {
    steps: BufWriter<fs_err::File>,
    epochs: BufWriter<fs_err::File>,
    last_flush: Instant,
    events: Option<EventWriter>,
}

/// Whoever watches the files sees a step at most this much later.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

impl Recorder {
    /// Opens the files, keeping the first `steps` and `epochs` rows of what is there.
    pub fn open(
        steps_path: &Path,
        epochs_path: &Path,
        steps: usize,
        epochs: usize,
    ) -> Result<Self> {
        Ok(Recorder {
            steps: open_after(steps_path, STEP_HEADER, steps)?,
            epochs: open_after(epochs_path, EPOCH_HEADER, epochs)?,
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
        let StepRecord {
            step,
            epoch,
            learning_rate,
            loss,
            gradient_norm,
        } = record;
        writeln!(
            self.steps,
            "{step},{epoch},{learning_rate},{loss},{gradient_norm}"
        )?;
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
        let validation = record
            .validation_map
            .map_or(String::new(), |v| v.to_string());
        let speed = record
            .images_per_second
            .map_or(String::new(), |v| format!("{v:.2}"));
        writeln!(
            self.epochs,
            "{},{},{validation},{:.3},{speed}",
            record.epoch, record.loss, record.seconds
        )?;
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

/// Cuts a CSV back to its header and `rows` rows, and opens it for appending.
fn open_after(path: &Path, header: &str, rows: usize) -> Result<BufWriter<fs_err::File>> {
    let mut kept = format!("{header}\n");
    if rows > 0 && path.is_file() {
        let file = BufReader::new(fs_err::File::open(path)?);
        for line in file.lines().skip(1).take(rows) {
            kept.push_str(&line?);
            kept.push('\n');
        }
    }
    let found = kept.lines().count() - 1;
    if found < rows {
        let problem = format!("has {found} rows, the checkpoint knows of {rows}");
        return Err(Error::file(path, problem)
            .hint("restore the file, or start the run anew with `--force`"));
    }
    write_text(path, &kept)?;
    let file = fs_err::OpenOptions::new()
        .append(true)
        .open(PathBuf::from(path))?;
    Ok(BufWriter::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_cuts_rows_that_the_checkpoint_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let (steps, epochs) = (folder.path().join("s.csv"), folder.path().join("e.csv"));
        let record = |step| StepRecord {
            step,
            epoch: 0,
            learning_rate: 0.1,
            loss: 1.5,
            gradient_norm: 2.0,
        };
        let mut recorder = Recorder::open(&steps, &epochs, 0, 0).unwrap();
        (0..5).for_each(|i| recorder.step(&record(i)).unwrap());
        recorder.flush().unwrap();
        let mut resumed = Recorder::open(&steps, &epochs, 3, 0).unwrap();
        resumed.step(&record(3)).unwrap();
        resumed.flush().unwrap();
        let text = fs_err::read_to_string(&steps).unwrap();
        let first: Vec<&str> = text.lines().map(|l| l.split(',').next().unwrap()).collect();
        assert_eq!(first, ["step", "0", "1", "2", "3"]);
    }
}
