#![no_main]

#[path = "../with.rs"]
mod with;

fuzz_with!("pictures_in_tar");
