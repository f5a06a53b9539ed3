#![no_main]

#[path = "../with.rs"]
mod with;

fuzz_with!("feature_names");
