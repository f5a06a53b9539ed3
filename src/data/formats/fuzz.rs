//! Mutated and arbitrary bytes for every reader: an error or a table, never a panic.

use std::path::Path;

use super::format::Sample;
use super::samples;
use crate::data::class_index::{Reading, Rows};
use crate::error::Result;
use crate::rng::Stream;

impl Sample {
    fn read(&self, bytes: &[u8]) -> Result<Rows> {
        let mut reading = Reading::over(None);
        let rows = (self.read)(bytes, Path::new("fuzz"), &mut reading)?;
        reading
            .classes
            .tell_look_alikes(Path::new("fuzz"), &mut reading.account);
        reading.account.report();
        // Numbers of classes must fit the index, or this goes out of bounds.
        let [_table] = reading.classes.tables([rows.clone()]);
        Ok(rows)
    }
}

/// One of the ways in which files get broken.
fn mutate(bytes: &mut Vec<u8>, stream: &mut Stream) {
    const TELLING: &[u8] = b"\"\\{}[],:|<>&;/\n\r\t\0-+.eE019 \xff\xc3\xef\xbb\xbf";
    for _ in 0..=stream.below(4) {
        let at = stream.below(bytes.len() + 1);
        let end = (at + stream.below(16)).min(bytes.len());
        match stream.below(7) {
            0 if at < bytes.len() => bytes[at] = stream.next_u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << stream.below(8),
            2 => bytes.insert(at, TELLING[stream.below(TELLING.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = stream.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 if stream.chance(0.2) => bytes.truncate(at),
            6 if stream.chance(0.05) => {
                // Deep nesting and long runs.
                let run = vec![TELLING[stream.below(TELLING.len())]; 2000];
                bytes.splice(at..at, run);
            }
            _ => {}
        }
    }
}

/// Feeds every reader at least `total` mutated bytes in all.
fn feed(total: usize) {
    let samples = samples();
    for sample in &samples {
        let read = sample.read(sample.bytes);
        assert!(read.is_ok(), "{}: {read:?}", sample.name);
    }
    let mut stream = Stream::new(1, "fuzz", 0, 0);
    let (mut fed, mut refused, mut accepted) = (0, 0, 0);
    while fed < total {
        for sample in &samples {
            let mut bytes = sample.bytes.to_vec();
            if stream.chance(0.02) {
                let length = stream.below(400);
                bytes = (0..length).map(|_| stream.next_u64() as u8).collect();
            }
            mutate(&mut bytes, &mut stream);
            fed += bytes.len();
            match sample.read(&bytes) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // Both ways were taken, or the mutations are too wild or too tame to tell anything.
    assert!(refused > 100 && accepted > 100, "{refused} {accepted}");
}

#[test]
fn no_reader_panics() {
    feed(400_000);
}

#[test]
#[ignore = "10 million bytes take a while; run it after changing a reader"]
fn no_reader_panics_on_ten_million_bytes() {
    feed(10_000_000);
}

/// Endless nesting neither overflows the stack nor is taken for data.
#[test]
fn deep_nesting_is_refused() {
    for unit in ["[", "{\"images\":[", "{\"a\":", "<annotation>"] {
        let bytes = unit.repeat(200_000).into_bytes();
        for sample in samples() {
            assert!(sample.read(&bytes).is_err(), "{}", sample.name);
        }
    }
}
