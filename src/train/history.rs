//! Reads `steps.csv`, `epochs.csv` and `epoch_times.csv` while a training writes them.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::record::{EpochRecord, EpochTime, StepRecord};
use crate::error::Result;
use crate::run_dir::RunDir;

/// The rows of a run so far, kept up to date by [`History::update`].
#[derive(Debug)]
pub struct History {
    steps_file: Follower,
    epochs_file: Follower,
    timings_file: Follower,
    /// Steps, in order.
    pub steps: Vec<StepRecord>,
    /// Epochs, in order.
    pub epochs: Vec<EpochRecord>,
    /// Times of the epochs, in order; empty for a run of an earlier version.
    pub timings: Vec<EpochTime>,
}

impl History {
    /// Makes the history of a run that may not have begun. Nothing is read yet.
    pub fn new(run: &RunDir) -> Self {
        History {
            steps_file: Follower::new(run.steps()),
            epochs_file: Follower::new(run.epochs()),
            timings_file: Follower::new(run.epoch_times()),
            steps: Vec::new(),
            epochs: Vec::new(),
            timings: Vec::new(),
        }
    }

    /// Reads what has been written since the last call. An incomplete line is left for the next
    /// call; a file that resuming has cut back is read from the start.
    pub fn update(&mut self) -> Result<()> {
        follow(&mut self.steps_file, &mut self.steps)?;
        follow(&mut self.epochs_file, &mut self.epochs)?;
        follow(&mut self.timings_file, &mut self.timings)
    }
}

fn follow<T: DeserializeOwned>(file: &mut Follower, rows: &mut Vec<T>) -> Result<()> {
    let news = file.read()?;
    if news.anew {
        rows.clear();
        file.header = None;
    }
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true);
    let reader = builder.from_reader(news.text.as_slice());
    for record in reader.into_records().filter_map(Result::ok) {
        // Columns are matched by name: earlier versions had others. Lines that are not rows do not
        // parse.
        match &file.header {
            None => file.header = Some(record),
            Some(header) => rows.extend(record.deserialize::<T>(Some(header)).ok()),
        }
    }
    Ok(())
}

/// Follows a growing text file, line by line.
#[derive(Debug)]
struct Follower {
    path: PathBuf,
    /// The identity of the file (device and inode), since another one may take its place.
    identity: Option<(u64, u64)>,
    offset: u64,
    half: Vec<u8>,
    /// The names of the columns.
    header: Option<csv::StringRecord>,
}

#[derive(Debug, Default)]
struct News {
    /// Complete lines.
    text: Vec<u8>,
    /// Whether the text starts at the beginning of the file, replacing what was read before.
    anew: bool,
}

impl Follower {
    fn new(path: PathBuf) -> Self {
        Follower {
            path,
            identity: None,
            offset: 0,
            half: Vec::new(),
            header: None,
        }
    }

    fn read(&mut self) -> Result<News> {
        let mut news = News::default();
        let mut file = match fs_err::File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                news.anew = self.offset > 0;
                *self = Follower::new(std::mem::take(&mut self.path));
                return Ok(news);
            }
            Err(e) => return Err(e.into()),
        };
        let found = file.metadata()?;
        let identity = identity(&found);
        if Some(identity) != self.identity || found.len() < self.offset {
            news.anew = true;
            (self.identity, self.offset) = (Some(identity), 0);
            self.half.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.half)? as u64;
        if let Some(end) = self.half.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.half.split_off(end + 1);
            news.text = std::mem::replace(&mut self.half, rest);
        }
        Ok(news)
    }
}

#[cfg(unix)]
fn identity(file: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> (u64, u64) {
    // There, only a file that became shorter is noticed.
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;
    use std::io::Write;

    #[test]
    fn half_a_line_waits_and_a_file_that_was_cut_back_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        let mut history = History::new(&run);
        history.update().unwrap();
        assert!(history.steps.is_empty());

        let header = "step,epoch,learning_rate,loss,gradient_norm\n";
        fs_err::write(run.steps(), format!("{header}0,0,0.1,0.7,2.5\n1,0,0.1,0.6")).unwrap();
        fs_err::write(run.epochs(), "epoch,loss,validation_map,se").unwrap();
        history.update().unwrap();
        assert_eq!(history.steps.len(), 1);
        assert_eq!(history.steps[0].gradient_norm, 2.5);

        let mut file = fs_err::OpenOptions::new()
            .append(true)
            .open(run.steps())
            .unwrap();
        file.write_all(b"5,2\n2,0,0.1,0.5,1\n").unwrap();
        let mut file = fs_err::OpenOptions::new()
            .append(true)
            .open(run.epochs())
            .unwrap();
        file.write_all(b"conds,ema_validation_map\n0,0.65,,1.5,0.25\n")
            .unwrap();
        history.update().unwrap();
        let losses: Vec<f64> = history.steps.iter().map(|s| s.loss).collect();
        assert_eq!(losses, [0.7, 0.65, 0.5]);
        assert_eq!(history.epochs.len(), 1);
        assert_eq!(history.epochs[0].validation_map, None);
        assert_eq!(history.epochs[0].ema_validation_map, Some(0.25));

        // Resuming rewrites the file, here even with more rows.
        let rows: String = (0..9).map(|i| format!("{i},0,0.1,9.0,1\n")).collect();
        write_text(&run.steps(), &format!("{header}{rows}")).unwrap();
        history.update().unwrap();
        assert!(history.steps.len() == 9 && history.steps.iter().all(|s| s.loss == 9.0));
    }
}
