//! Cells with joined labels, and what looks suspicious about them.

use std::collections::HashMap;
use std::path::Path;

use crate::data::class_index::Reading;
use crate::data::separator::{NO_VALUE, Separator, argument, is_list, joined, parts_known};
use crate::error::{Error, Result};

/// The column of joined labels, and what looks suspicious about it.
pub(super) struct Cells<'a> {
    path: &'a Path,
    separator: &'a Separator,
    /// The line on which each class first occurred.
    first: HashMap<u32, u64>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(path: &'a Path, separator: &'a Separator) -> Self {
        Cells {
            path,
            separator,
            first: HashMap::new(),
        }
    }

    /// Returns the classes in a cell.
    pub(super) fn labels(
        &mut self,
        line: u64,
        image: &str,
        cell: &str,
        reading: &mut Reading,
    ) -> Result<Vec<u32>> {
        if NO_VALUE.contains(&cell) && !(reading.classes.is_closed() && reading.classes.knows(cell))
        {
            let what = format!("with `{cell}` as labels, read as no labels");
            let remedy = "if it is a class, put it into a class list (`--classes`)";
            reading
                .account
                .warn(self.path, ("image", &what), [image], remedy);
            return Ok(Vec::new());
        }
        if *self.separator != Separator::List && is_list(cell) && !reading.classes.knows(cell) {
            let problem = format_args!("the labels are a list: `{cell}`");
            return Err(Error::line(self.path, line, problem)
                .hint("pass `--separator list` (`separator = \"list\"`) to read lists"));
        }
        let names = (self.separator.split(cell))
            .map_err(|problem| Error::line(self.path, line, problem))?;
        let mut labels = Vec::with_capacity(names.len());
        for name in names {
            let class = self.number(name, line, reading)?;
            self.first.entry(class).or_insert(line);
            labels.push(class);
        }
        Ok(labels)
    }

    pub(super) fn number(&self, name: &str, line: u64, reading: &mut Reading) -> Result<u32> {
        let number = reading.classes.number(name, self.path, Some(line));
        if number.is_err()
            && reading.classes.is_closed()
            && let Some(sign) = parts_known(name, |part| reading.classes.knows(part))
        {
            return Err(self.joined(line, name, sign));
        }
        number
    }

    fn joined(&self, line: u64, name: &str, sign: char) -> Error {
        let problem = format!("the label `{name}` consists of other classes, joined by `{sign}`");
        Error::line(self.path, line, problem).hint(format_args!(
            "`{}` separates them; to keep it as one class, put the name into a class list (`--classes`)",
            argument(sign)
        ))
    }

    /// Rejects names that are composed of other names, and reports those that may be.
    pub(super) fn check(&self, reading: &mut Reading) -> Result<()> {
        if reading.classes.is_closed() {
            return Ok(());
        }
        let names = reading.classes.names();
        if let Some((at, sign)) = joined(names) {
            let line = self.first.get(&(at as u32)).copied();
            return Err(match line {
                Some(line) => self.joined(line, &names[at], sign),
                None => self.joined(1, &names[at], sign),
            });
        }
        let met = |at: &usize| self.first.contains_key(&(*at as u32));
        let with = |signs: &[char]| -> Vec<String> {
            let found = (0..names.len()).filter(met).map(|at| &names[at]);
            found.filter(|name| name.contains(signs)).cloned().collect()
        };
        let unsure = with(&[',', ';', '\t', '，', '；', '、', '｜']);
        let mut quoted = with(&['"']);
        quoted.retain(|name| name.starts_with('"') || name.ends_with('"'));
        reading.account.warn(
            self.path,
            ("class name", "with a sign that may separate labels"),
            unsure.iter().map(String::as_str),
            "`--separator` parts them if they are several",
        );
        reading.account.warn(
            self.path,
            (
                "class name",
                "with a quote at an end, which is part of the name here",
            ),
            quoted.iter().map(String::as_str),
            "",
        );
        Ok(())
    }
}
