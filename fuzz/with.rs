//! What all targets share: the readers are those of the tests.

#![allow(dead_code)]

#[path = "../tests/bad_input/readers.rs"]
pub(crate) mod readers;

/// The target of the reader of that name.
#[macro_export]
macro_rules! fuzz_with {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            let _ = $crate::with::readers::feed($name, bytes);
        });
    };
}
