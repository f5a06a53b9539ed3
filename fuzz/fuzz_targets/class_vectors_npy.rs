#![no_main]

#[path = "../with.rs"]
mod with;

fuzz_with!("class_vectors_npy");
