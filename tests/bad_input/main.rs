//! Bad input to every reader: mutated and made up, and files made to do harm. An error or a result,
//! never a panic, never more memory than the file is worth.
//!
//! `DBLOSS_FUZZ_SECONDS` says how long the mutations go on, `DBLOSS_FUZZ_SEED` with which seed, and
//! `DBLOSS_CASES` names a folder whose files are seeds too.

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod mutate;
mod readers;
mod seeds;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dbloss::data::formats::Source;
use dbloss::rng::Stream;

use mutate::mutated;
use readers::{READERS, Reader, feed};

/// Inputs a reader gets where nothing else is asked for.
const INPUTS: usize = 150;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What became of the inputs of a reader.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    slowest: Duration,
}

/// Gives one input to a reader. What makes it panic is kept, and named in the panic.
fn try_one(reader: &Reader, bytes: &[u8], tally: &mut Tally) {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| feed(reader, bytes)));
    tally.slowest = tally.slowest.max(start.elapsed());
    match result {
        Ok(Ok(())) => tally.accepted += 1,
        Ok(Err(_)) => tally.refused += 1,
        Err(_) => {
            let name = format!("dbloss-{}-{}.bad", reader.name, bytes.len());
            let kept = std::env::temp_dir().join(name);
            std::fs::write(&kept, bytes).unwrap();
            panic!(
                "`{}` panicked; the input is {}",
                reader.name,
                kept.display()
            );
        }
    }
}

/// The largest memory that this process has had, in bytes; 0 where that is not told.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[test]
fn no_reader_panics_or_takes_what_a_file_is_not_worth() {
    let seed = variable("DBLOSS_FUZZ_SEED").unwrap_or(1);
    let only: Option<String> = variable("DBLOSS_FUZZ_READER");
    let limit = variable("DBLOSS_FUZZ_SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    let readers = READERS
        .iter()
        .filter(|reader| only.as_ref().is_none_or(|only| only == reader.name));
    let mut states: Vec<_> = readers
        .map(|reader| {
            let seeds = seeds::of(reader.name);
            assert!(!seeds.is_empty(), "`{}` has no seed", reader.name);
            let stream = Stream::new(seed, reader.name, 0, 0);
            (reader, seeds, stream, Tally::default())
        })
        .collect();
    // The first seed is well-formed: it has to be read.
    let firsts = states.iter().filter_map(|(reader, seeds, ..)| {
        let error = feed(reader, &seeds[0]).err()?;
        Some(format!("{}: {error}", reader.name))
    });
    let refused: Vec<String> = firsts.collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    for (reader, seeds, _, tally) in &mut states {
        seeds.iter().for_each(|seed| try_one(reader, seed, tally));
    }
    let before = peak_memory();
    let (mut inputs, mut told) = (0, Instant::now());
    loop {
        for (reader, seeds, stream, tally) in &mut states {
            for _ in 0..10 {
                let bytes = mutated(seeds, stream);
                try_one(reader, &bytes, tally);
                inputs += 1;
            }
        }
        let over = match limit {
            Some(limit) => start.elapsed() >= limit,
            None => inputs >= INPUTS * states.len(),
        };
        if over || told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!(
                "{inputs} inputs in {} s, {} MB more at most",
                start.elapsed().as_secs(),
                peak_memory().saturating_sub(before) >> 20
            );
        }
        if over {
            break;
        }
    }
    for (reader, _, _, tally) in &states {
        println!(
            "{:22} {:8} read {:8} refused, slowest {:?}",
            reader.name, tally.accepted, tally.refused, tally.slowest
        );
        // Both ways were taken, or the mutations tell nothing.
        let wild = tally.accepted + tally.refused > 100 && tally.refused == 0;
        assert!(!wild, "`{}` takes everything", reader.name);
    }
    let more = peak_memory().saturating_sub(before);
    assert!(more < 300 << 20, "{} MB more than before", more >> 20);
}

/// Writes the seeds where `cargo fuzz` looks for them.
#[test]
#[ignore = "writes fuzz/corpus for cargo fuzz; run it before a fuzzing campaign"]
fn seeds_become_the_corpus() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for reader in READERS {
        let folder = root.join(reader.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, bytes) in seeds::of(reader.name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), bytes).unwrap();
        }
    }
}

/// No format of annotations without a reader here.
#[test]
fn every_format_is_tried() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input/readers/mod.rs");
    let text = std::fs::read_to_string(here).unwrap();
    let unknown = toml::from_str::<Source>("kind = 'none of them'").unwrap_err();
    let kinds: Vec<&str> = (unknown.message().split('`').skip(3).step_by(2)).collect();
    assert!(kinds.len() > 7, "{unknown}");
    let others = ["lvis", "csv", "tsv", "jsonl"];
    for kind in kinds.into_iter().filter(|kind| !others.contains(kind)) {
        // Folders of pictures and the embedded set are no files.
        let has_bytes = !["folder", "shapes"].contains(&kind);
        let tried = text.contains(&format!("load(\"{kind}\""));
        assert_eq!(tried, has_bytes, "`{kind}`");
    }
}
