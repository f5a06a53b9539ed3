//! Faults, really done: processes killed at moments of chance, disks that are full, folders that
//! cannot be written or that others hold, files that change under the hands of a run. Nothing is
//! lost that had been saved, and no file is half under its final name.
//!
//! `DBLOSS_KILLS` says how many kills each command has to survive in the long test, `DBLOSS_SEED`
//! with which seed.

mod clocks;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod kills;
#[cfg(target_os = "linux")]
mod long_runs;
mod pictures;
mod signals;
mod values;
