//! The settings in which the methods differ.

use std::collections::BTreeSet;

use serde::Serialize;

use super::collect::Run;
use super::method::Method;

/// A configuration key whose value is not the same in all runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// Its value for each method: several if the runs of a method differ, empty if it is not set.
    pub values: Vec<String>,
}

/// Returns every key that differs, sorted. Runs without a configuration are ignored.
pub(super) fn differing(runs: &[Run], methods: &[Method]) -> Vec<Setting> {
    let runs: Vec<&Run> = runs.iter().filter(|r| !r.settings.is_empty()).collect();
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let mut settings = Vec::new();
    for key in keys {
        let of = |run: &&Run| run.settings.get(key).cloned().unwrap_or_default();
        if runs.iter().all(|run| of(run) == of(&runs[0])) {
            continue;
        }
        let values = methods.iter().map(|method| {
            let own = runs.iter().filter(|run| run.method == method.name);
            let values: BTreeSet<String> = own.map(of).collect();
            if values.len() > 1 {
                tracing::warn!("the runs of `{}` differ in `{key}`", method.name);
            }
            Vec::from_iter(values).join(" / ")
        });
        settings.push(Setting {
            key: key.clone(),
            values: values.collect(),
        });
    }
    settings
}
