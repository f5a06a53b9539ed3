//! The account of what was left out of a source, merged or assumed, and why.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::class_name::visible;
use crate::wording::{FIRST_NAMED, counted, first_named};

/// One thing that a reader did not take as it stands; kept in `split.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// File or folder.
    pub place: String,
    /// How many.
    pub count: usize,
    /// What, with the number: «2 files left out».
    pub what: String,
    /// The first of them.
    pub first: Vec<String>,
}

/// What was left out of a source, in the order in which it was met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: String,
    /// What is counted, and what is said of it.
    noun: &'static str,
    said: String,
    count: usize,
    first: Vec<String>,
    remedy: &'static str,
    loud: bool,
}

impl Account {
    /// Notes that labels or pictures are lost, or that something was assumed: a warning. `said`
    /// reads on behind the number and the noun; `remedy` says what to do, or is empty.
    pub(crate) fn warn<'a>(
        &mut self,
        place: &Path,
        (noun, said): (&'static str, &str),
        names: impl IntoIterator<Item = &'a str>,
        remedy: &'static str,
    ) {
        self.add(place, noun, said, names, remedy, true);
    }

    /// Notes what a user would expect to be left out.
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

    /// Says everything once, on the log.
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

    /// The facts, for `split.toml`.
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
