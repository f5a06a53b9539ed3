//! TensorBoard event files: the scalars of a run in the format that TensorBoard reads.
//!
//! An event file is a sequence of records (length, checksum, bytes, checksum), each a protocol
//! buffer `Event`. Only the few fields needed for scalars are written here.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::history::History;
use super::record::{EpochRecord, EpochTime, StepRecord};
use crate::error::Result;
use crate::run_dir::RunDir;

/// Writes the events of a run, derived from its CSV files: rewritten whenever a training resumes,
/// and extended with them from there.
pub struct EventWriter {
    file: BufWriter<fs_err::File>,
}

impl EventWriter {
    /// Opens the run's event file. Its first events are the first `steps` and `epochs` rows of the
    /// CSV files; it replaces files left by earlier processes.
    pub fn open(run: &RunDir, steps: usize, epochs: usize, steps_per_epoch: usize) -> Result<Self> {
        let folder = run.tensorboard();
        fs_err::create_dir_all(&folder)?;
        let mut history = History::new(run);
        history.update()?;
        for path in event_files(&folder)? {
            fs_err::remove_file(path)?;
        }
        let path = folder.join(format!("events.out.tfevents.{:010}.dbloss", now() as u64));
        let file = fs_err::OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        let mut writer = EventWriter {
            file: BufWriter::new(file),
        };
        writer.event(0, &string(FILE_VERSION, "brain.Event:2"))?;
        let mut ended = history.epochs.iter().take(epochs).peekable();
        for record in history.steps.iter().take(steps) {
            writer.step(record)?;
            let last =
                |epoch: &&EpochRecord| (epoch.epoch + 1) * steps_per_epoch == record.step + 1;
            if let Some(epoch) = ended.next_if(last) {
                let time = history
                    .timings
                    .iter()
                    .find(|time| time.epoch == epoch.epoch);
                writer.epoch(epoch, time, record.step)?;
            }
        }
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a step.
    pub fn step(&mut self, record: &StepRecord) -> Result<()> {
        let scalars = [
            ("train/loss", record.loss),
            ("train/learning_rate", record.learning_rate),
            ("train/gradient_norm", record.gradient_norm),
        ];
        self.event(record.step as u64, &summary(&scalars))
    }

    /// Adds an epoch, at its last step, with its `time` if it is known.
    pub fn epoch(
        &mut self,
        record: &EpochRecord,
        time: Option<&EpochTime>,
        last_step: usize,
    ) -> Result<()> {
        let mut scalars = vec![("epoch/loss", record.loss)];
        scalars.extend(record.validation_map.map(|v| ("epoch/validation_map", v)));
        let average = record.ema_validation_map;
        scalars.extend(average.map(|v| ("epoch/ema_validation_map", v)));
        let speed = time.and_then(|time| time.images_per_second);
        scalars.extend(speed.map(|v| ("epoch/images_per_second", v)));
        self.event(last_step as u64, &summary(&scalars))
    }

    /// Makes the events so far visible to readers.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }

    fn event(&mut self, step: u64, what: &[u8]) -> Result<()> {
        let mut event = fixed64(WALL_TIME, now());
        if step > 0 {
            event.extend(varint(STEP, step));
        }
        event.extend(what);
        Ok(self.file.write_all(&record(&event))?)
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |duration| duration.as_secs_f64())
}

/// Returns the event files in a folder that dbloss wrote, ordered by name.
fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("events.out.tfevents.") && name.ends_with(".dbloss") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

// Field numbers of the protocol buffers.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;

// Wire types: how a field is encoded, the low three bits of its key.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

fn number(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value >= 0x80 {
        encoded.push(value as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3 | VARINT), number(value)].concat()
}

fn fixed64(field: u64, value: f64) -> Vec<u8> {
    [number(field << 3 | FIXED_64), value.to_le_bytes().to_vec()].concat()
}

fn fixed32(field: u64, value: f32) -> Vec<u8> {
    [number(field << 3 | FIXED_32), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        &number(field << 3 | BYTES),
        &number(value.len() as u64),
        value,
    ]
    .concat()
}

fn string(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

fn summary(scalars: &[(&str, f64)]) -> Vec<u8> {
    let values = scalars.iter().flat_map(|(tag, value)| {
        let value = [string(TAG, tag), fixed32(SIMPLE_VALUE, *value as f32)].concat();
        bytes(VALUE, &value)
    });
    bytes(SUMMARY, &values.collect::<Vec<u8>>())
}

/// Encodes a record: the length and the data, each followed by its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked_crc(&length), masked_crc(data));
    [
        &length[..],
        &of_length.to_le_bytes(),
        data,
        &of_data.to_le_bytes(),
    ]
    .concat()
}

/// Returns the checksum of the format: the CRC is rotated and offset, because data may contain
/// CRCs.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Computes CRC-32C (Castagnoli) bit by bit, which is fast enough for short records.
fn crc32c(data: &[u8]) -> u32 {
    let divide = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)));
    !data
        .iter()
        .fold(!0, |crc, byte| divide(crc ^ u32::from(*byte)))
}

#[cfg(test)]
#[path = "tensorboard_tests.rs"]
mod tests;
