//! Checks which methods may start from which.

use crate::error::{Error, KeyPath, Result};
use crate::plan::SweepFile;
use crate::plan::tune_config::TuneConfig;

/// Rejects a second stage of `methods` that starts from a method not among them, and a third stage.
/// An entry for a method that is not tried has no effect, because a file that extends another one
/// may try fewer methods.
pub(super) fn check(sweep: &SweepFile, config: &TuneConfig, methods: &[String]) -> Result<()> {
    let at = KeyPath::from("tune.start");
    for (second, first) in &config.start {
        if !methods.contains(second) {
            continue;
        }
        if !methods.contains(first) {
            let problem = format!("is `{first}`, but the methods are {}", methods.join(", "));
            let names = methods.iter().map(String::as_str);
            let error = Error::key(at.child(second), problem).did_you_mean(first, names);
            return Err(sweep.locate(error));
        }
        if config.start.contains_key(first) {
            let problem = format!("starts from `{first}`, which itself starts from another method");
            return Err(sweep.locate(
                Error::key(at.child(second), problem).hint("a third stage is not possible"),
            ));
        }
    }
    Ok(())
}
