#![no_main]

#[path = "../with.rs"]
mod with;

fuzz_with!("json_lines");
