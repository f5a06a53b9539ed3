//! The account of what was left out of a source, merged or assumed, and why.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::class_name::visible;
use crate::wording::{FIRST_NAMED, counted, first_named};

/// Something that a reader did not take over unchanged; recorded in `split.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The file or folder.
    pub place: String,
    /// The number of occurrences.
    pub count: usize,
    /// A description that includes the number: «2 files left out».
    pub what: String,
    /// The first occurrences.
    pub first: Vec<String>,
}

/// What was left out of a source, in the order of occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: String,
    /// What is counted, and what is reported about it.
    noun: &'static str,
    said: String,
    count: usize,
    first: Vec<String>,
    remedy: &'static str,
    loud: bool,
}

impl Account {
    /// Records a loss of labels or pictures, or an assumption, as a warning. `said` continues the
    /// sentence after the number and the noun; `remedy` says what to do and may be empty.
    pub(crate) fn warn<'a>(
        &mut self,
        place: &Path,
        (noun, said): (&'static str, &str),
        names: impl IntoIterator<Item = &'a str>,
        remedy: &'static str,
    ) {
        self.add(place, noun, said, names, remedy, true);
    }

    /// Records something that a user would expect to be left out.
    pub(crate) fn tell<'a>(
        &mut self,
        place: &Path,
        (noun, said): (&'static str, &str),
        names: impl IntoIterator<Item = &'a str>,
    ) {
        self.add(place, noun, said, names, "", false);
    }

    fn add<'a>(
        &mut self,
        place: &Path,
        noun: &'static str,
        said: &str,
        names: impl IntoIterator<Item = &'a str>,
        remedy: &'static str,
        loud: bool,
    ) {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return;
        }
        let place = place.display().to_string();
        let known =
            |entry: &Entry| (&*entry.place, entry.noun, &*entry.said) == (&*place, noun, said);
        let at = self.0.iter().position(known).unwrap_or_else(|| {
            self.0.push(Entry {
                place,
                noun,
                said: said.to_owned(),
                count: 0,
                first: Vec::new(),
                remedy,
                loud,
            });
            self.0.len() - 1
        });
        let entry = &mut self.0[at];
        for name in names {
            entry.count += 1;
            if entry.first.len() <= FIRST_NAMED {
                let name = visible(name);
                if !entry.first.contains(&name) {
                    entry.first.push(name);
                }
            }
        }
    }

    /// Logs every entry once.
    pub fn report(&self) {
        for entry in &self.0 {
            let what = counted(entry.count, entry.noun);
            let names = first_named(entry.first.iter().map(String::as_str));
            let mut line = format!("{}: {what} {}: {names}", entry.place, entry.said);
            if !entry.remedy.is_empty() {
                line = format!("{line}; {}", entry.remedy);
            }
            match entry.loud {
                true => tracing::warn!("{line}"),
                false => tracing::info!("{line}"),
            }
        }
    }

    /// Returns the entries in the form stored in `split.toml`.
    pub fn facts(&self) -> Vec<LeftOut> {
        let fact = |entry: &Entry| LeftOut {
            place: entry.place.clone(),
            count: entry.count,
            what: format!("{} {}", counted(entry.count, entry.noun), entry.said),
            first: entry.first.iter().take(FIRST_NAMED).cloned().collect(),
        };
        self.0.iter().map(fact).collect()
    }
}
