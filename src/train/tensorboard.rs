//! TensorBoard event files: the scalars of a run in the format that TensorBoard reads.
//!
//! An event file is a sequence of records (length, checksum, bytes, checksum), each a protocol
//! buffer `Event`. Only the handful of fields that scalars need are written here.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::history::History;
use super::record::{EpochRecord, StepRecord};
use crate::error::{Error, Result};
use crate::io::write_atomic;
use crate::run_dir::RunDir;

/// Tags of the epoch's scalars begin with this, which tells their events from those of steps.
const EPOCH: &str = "epoch/";

/// Writes the events of a run. Resuming leaves every step once, as in the CSV files.
pub struct EventWriter {
    file: BufWriter<fs_err::File>,
}

impl EventWriter {
    /// Opens a new event file in the run's folder of them. What earlier ones hold beyond the first
    /// `steps` steps and `epochs` epochs is cut off, for it will be written again; where there are
    /// none, for the option is new, the rows of the CSV files come first.
    pub fn open(run: &RunDir, steps: usize, epochs: usize, steps_per_epoch: usize) -> Result<Self> {
        let folder = run.tensorboard();
        fs_err::create_dir_all(&folder)?;
        let earlier = event_files(&folder)?;
        for path in &earlier {
            match steps {
                0 => fs_err::remove_file(path)?,
                _ => cut_back(path, steps, epochs, steps_per_epoch)?,
            }
        }
        // TensorBoard reads the files of a folder in the order of their names.
        let mut seconds = now() as u64;
        let path = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.dbloss"));
            if earlier.last().is_none_or(|last| *last < path) {
                break path;
            }
            seconds += 1;
        };
        let file = fs_err::OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        let mut writer = EventWriter {
            file: BufWriter::new(file),
        };
        writer.event(0, &string(FILE_VERSION, "brain.Event:2"))?;
        if steps > 0 && earlier.is_empty() {
            let mut history = History::new(run);
            history.update()?;
            for record in history.steps.iter().take(steps) {
                writer.step(record)?;
            }
            for record in history.epochs.iter().take(epochs) {
                writer.epoch(record, (record.epoch + 1) * steps_per_epoch - 1)?;
            }
        } else if steps > 0 {
            // A TensorBoard that has read more of the run than was kept forgets it at this.
            let start = bytes(SESSION_LOG, &varint(SESSION_STATUS, SESSION_START));
            writer.event(steps as u64, &start)?;
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

    /// Adds an epoch, at its last step.
    pub fn epoch(&mut self, record: &EpochRecord, last_step: usize) -> Result<()> {
        let mut scalars = vec![("epoch/loss", record.loss)];
        scalars.extend(record.validation_map.map(|v| ("epoch/validation_map", v)));
        scalars.extend(
            record
                .images_per_second
                .map(|v| ("epoch/images_per_second", v)),
        );
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

/// The event files of a folder, in the order of their names.
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

/// Keeps the records of a file up to the given steps and epochs, and drops a half record at its
/// end.
fn cut_back(path: &Path, steps: usize, epochs: usize, steps_per_epoch: usize) -> Result<()> {
    let all = fs_err::read(path)?;
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut rest = all.as_slice();
    while let Some((whole, event, after)) = next_record(rest) {
        rest = after;
        let facts = facts(event).ok_or_else(|| {
            Error::file(path, "holds an event that cannot be read")
                .hint("remove the file, or start the run anew with `--force`")
        })?;
        let last = match facts.epoch {
            true => epochs * steps_per_epoch,
            false => steps,
        };
        if facts.step < last as u64 || facts.version {
            kept.push(whole);
        }
    }
    write_atomic(path, |writer| {
        for record in kept {
            writer.write_all(record)?;
        }
        Ok(())
    })
}

// Fields of the protocol buffers, and the one value of an enumeration.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
const SESSION_STATUS: u64 = 1;
const SESSION_START: u64 = 1;
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;

// How a field is encoded, the low three bits of its key.
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

/// Reads one field: its number, its bytes (of a varint: none), its value as a number if it is a
/// varint, and what follows.
fn field(buffer: &[u8]) -> Option<(u64, &[u8], u64, &[u8])> {
    let (key, rest) = read_number(buffer)?;
    let take = |rest: &'_ [u8], length: usize| (length <= rest.len()).then_some(length);
    match key & 7 {
        VARINT => {
            let (value, rest) = read_number(rest)?;
            Some((key >> 3, &[], value, rest))
        }
        kind => {
            let (length, rest) = match kind {
                FIXED_64 => (8, rest),
                FIXED_32 => (4, rest),
                BYTES => {
                    let (length, rest) = read_number(rest)?;
                    (usize::try_from(length).ok()?, rest)
                }
                _ => return None,
            };
            let (value, rest) = rest.split_at(take(rest, length)?);
            Some((key >> 3, value, 0, rest))
        }
    }
}

fn read_number(buffer: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in buffer.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &buffer[i + 1..]));
        }
    }
    None
}

/// What cutting a file back has to know of an event.
#[derive(Debug, Default)]
struct Facts {
    step: u64,
    /// It is an epoch's summary.
    epoch: bool,
    /// It is the file's first event, which says what the file is.
    version: bool,
}

fn facts(mut event: &[u8]) -> Option<Facts> {
    let mut facts = Facts::default();
    while !event.is_empty() {
        let (number, value, integer, rest) = field(event)?;
        event = rest;
        match number {
            STEP => facts.step = integer,
            FILE_VERSION => facts.version = true,
            SUMMARY if !value.is_empty() => {
                let (_, first, _, _) = field(value)?;
                let (_, tag, _, _) = field(first)?;
                facts.epoch = tag.starts_with(EPOCH.as_bytes());
            }
            _ => {}
        }
    }
    Some(facts)
}

/// A record: the length and the data, each with its checksum behind it.
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

/// The first record of a buffer: all of it, its data, and what follows. `None` at the end, or
/// where half a record is left.
fn next_record(buffer: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let length: [u8; 8] = *buffer.first_chunk()?;
    let checksum = |at: usize| Some(u32::from_le_bytes(*buffer.get(at..)?.first_chunk()?));
    if checksum(8)? != masked_crc(&length) {
        return None;
    }
    let end = usize::try_from(u64::from_le_bytes(length))
        .ok()?
        .checked_add(12)?;
    let data = buffer.get(12..end)?;
    if checksum(end)? != masked_crc(data) {
        return None;
    }
    let (whole, rest) = buffer.split_at(end + 4);
    Some((whole, data, rest))
}

/// The format's checksum: a CRC is turned and shifted, for data that may hold CRCs itself.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: the records are short.
fn crc32c(data: &[u8]) -> u32 {
    let divide = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)));
    !data
        .iter()
        .fold(!0, |crc, byte| divide(crc ^ u32::from(*byte)))
}

#[cfg(test)]
#[path = "tensorboard_tests.rs"]
mod tests;
