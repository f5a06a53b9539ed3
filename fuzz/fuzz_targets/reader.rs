//! The target of every reader: `DBLOSS_FUZZ_READER` says which. One program and not one each, for
//! each would be the whole library again: a third of a gigabyte, and the time to link it.

#![no_main]

use std::sync::LazyLock;

#[path = "../../tests/bad_input/readers/mod.rs"]
mod readers;

use readers::{Reader, feed, named};

static READER: LazyLock<&'static Reader> = LazyLock::new(|| {
    let name = std::env::var("DBLOSS_FUZZ_READER").unwrap_or_default();
    named(&name).unwrap_or_else(|| {
        let names: Vec<&str> = readers::READERS.iter().map(|reader| reader.name).collect();
        eprintln!("DBLOSS_FUZZ_READER is none of {}", names.join(" "));
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(
    init: {
        // A panic that a reader catches in a library below it is no finding; one that comes out of
        // a reader is, and libFuzzer ends the process for it.
        drop(std::panic::take_hook());
        LazyLock::force(&READER);
    },
    |bytes: &[u8]| {
        let _ = feed(&READER, bytes);
    }
);
