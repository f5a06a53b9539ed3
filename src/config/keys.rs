//! The reference of keys: every key of an experiment with its type, default, range and meaning.
//!
//! Nothing is described here. Names, types and meanings are those of the types that are read
//! (`build.rs` takes the comments over), defaults are what those types write, and ranges are what
//! their checks check; losses, heads and sources bring their own descriptions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::Experiment;
use crate::data::formats::FORMATS;
use crate::error::{Error, KeyPath, Result};
use crate::layers::leaves;
use crate::loss::pages;
use crate::model::backbone::adapter;
use crate::model::head::{self, Accepts};
use crate::optim;
use crate::range::Range;

/// Type, variant, field, the field's type, and comment: `build.rs` writes the list.
const FIELDS: &[(&str, &str, &str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/fields.rs"));

/// A key, a row of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key with the tables above it.
    pub key: String,
    /// The kind of its table that has it, such as `kind = "cosine"`; empty where all have it.
    pub only_with: String,
    /// What it holds: `number`, `whole number`, `text`, `true or false`, `path`, a list, words.
    pub holds: String,
    /// What it is where it is left out, in TOML; empty where the meaning says it, or it must be given.
    pub default: String,
    /// What is accepted; empty where the type says it all.
    pub range: String,
    /// What it does.
    pub meaning: String,
}

/// Experiments that together have every table.
const USUAL: [&str; 7] = [
    "loss.name = 'bce'\nsampler.kind = 'uniform'\nsplit.distribution.kind = 'pareto'",
    "loss.name = 'bce'\nsampler.kind = 'class-aware'\nschedule.kind = 'cosine'",
    "loss.name = 'bce'\nsampler.kind = 'repeat-factor'\nschedule.kind = 'one-cycle'",
    "loss.name = 'bce'\nsampler.kind = 'square-root'\nschedule.kind = 'constant'",
    "loss.name = 'bce'\nsampler.kind = 'uniform'\noptimizer.kind = 'adamw'",
    "loss.name = 'bce'\nsampler.kind = 'uniform'\nmodel.backbone = 'vit_tiny_patch16_224'\n\
     model.adapter.kind = 'lora'",
    "loss.name = 'bce'\nsampler.kind = 'uniform'\nmodel.backbone = 'vit_tiny_patch16_224'\n\
     model.adapter.kind = 'adaptformer'",
];

/// Every key, in the order of the tables.
///
/// # Errors
/// An experiment that lists keys cannot be read, which is a mistake of this program.
pub fn rows() -> Result<Vec<KeyRow>> {
    let mut reference = Reference::default();
    for text in USUAL {
        let whole = format!("name = 'x'\nmethod = 'x'\nsplit.source.kind = 'shapes'\n{text}\n");
        let read = toml::from_str::<Experiment>(&whole);
        let experiment = read.map_err(|e| Error::input("the list of keys", e.message()))?;
        let ranges = Range::listen(|| drop(experiment.check()));
        reference.ranges.extend(ranges);
        if let Ok(table) = Table::try_from(&experiment) {
            for (key, value) in leaves(&table) {
                reference.defaults.entry(key).or_insert(value);
            }
        }
    }
    reference.of_type("Experiment", &KeyPath::root(), "")?;
    Ok(reference.rows)
}

#[derive(Default)]
struct Reference {
    ranges: BTreeMap<KeyPath, Range>,
    defaults: BTreeMap<String, Value>,
    rows: Vec<KeyRow>,
}

impl Reference {
    /// The fields of a type that is the table at `at`.
    fn of_type(&mut self, name: &str, at: &KeyPath, only_with: &str) -> Result<()> {
        for (_, variant, field, kind, comment) in FIELDS.iter().filter(|row| row.0 == name) {
            let with = match variant.is_empty() {
                true => only_with.to_owned(),
                false => format!("{} = \"{}\"", at.child("kind"), kebab(variant)),
            };
            match (field.is_empty(), kind.is_empty()) {
                (true, true) => {}
                // A variant whose keys are those of another type.
                (true, false) => self.of_type(bare(kind), at, &with)?,
                _ => self.of_field(at, field, kind, comment, &with)?,
            }
        }
        Ok(())
    }

    fn of_field(
        &mut self,
        at: &KeyPath,
        field: &str,
        kind: &str,
        comment: &str,
        with: &str,
    ) -> Result<()> {
        let key = at.child(field);
        let type_name = bare(kind);
        match type_name {
            "Kind" => {
                let is_adapter = at.keys().last().is_some_and(|last| last == "adapter");
                let types = match is_adapter {
                    true => adapter::Kind::TYPES,
                    false => optim::Kind::TYPES,
                };
                self.kinds(at, types.iter().map(|(name, _)| *name), comment);
                for (name, of) in types {
                    self.of_type(of, at, &format!("{} = \"{name}\"", at.child("kind")))?;
                }
            }
            "HeadConfig" => self.heads(&key),
            "LossConfig" => self.losses(&key)?,
            "Source" => self.sources(&key),
            "Written" => {}
            _ if self.is_table(type_name) => {
                let variants = FIELDS
                    .iter()
                    .filter(|row| row.0 == type_name && row.2.is_empty());
                let names: Vec<String> = variants.map(|row| kebab(row.1)).collect();
                if !names.is_empty() {
                    self.kinds(&key, names.iter().map(String::as_str), comment);
                }
                self.of_type(type_name, &key, with)?;
            }
            _ => {
                let range = self.ranges.get(&key);
                let range = range.map(Range::to_string).or_else(|| words(type_name));
                self.add(&key, with, holds(kind), range, comment);
            }
        }
        Ok(())
    }

    /// Whether a type is a table: it has fields, or variants with fields.
    fn is_table(&self, name: &str) -> bool {
        let by_hand = ["Extent", "EpochLength", "Separator"];
        let has_fields = |row: &&(&str, &str, &str, &str, &str)| {
            row.0 == name && (!row.2.is_empty() || !row.3.is_empty())
        };
        !by_hand.contains(&name) && FIELDS.iter().any(|row| has_fields(&row))
    }

    /// The key `kind` of the table at `at`.
    fn kinds<'a>(&mut self, at: &KeyPath, names: impl Iterator<Item = &'a str>, comment: &str) {
        let names: Vec<&str> = names.collect();
        let range = format!("one of `{}`", names.join("`, `"));
        self.add(&at.child("kind"), "", "text", Some(range), comment);
    }

    fn add(&mut self, key: &KeyPath, with: &str, holds: &str, range: Option<String>, what: &str) {
        let key = key.to_string();
        let default = self.defaults.get(&key).map(Value::to_string);
        self.rows.push(KeyRow {
            only_with: with.to_owned(),
            holds: holds.to_owned(),
            default: default.unwrap_or_default(),
            range: range.unwrap_or_default(),
            meaning: what.to_owned(),
            key,
        });
    }

    fn heads(&mut self, at: &KeyPath) {
        let names = head::Kind::NAMES.iter().copied();
        self.kinds(at, names, "The classifier, see docs/heads.");
        for (definition, usual) in head::Kind::DEFINITIONS.iter().zip(head::Kind::defaults()) {
            let with = format!("{} = \"{}\"", at.child("kind"), definition.name);
            let defaults = usual.keys().unwrap_or_default();
            for key in definition.keys {
                let range = match &key.accepts {
                    Accepts::Range(range) => range.to_string(),
                    Accepts::Words(words) => (*words).to_owned(),
                };
                self.rows.push(KeyRow {
                    key: at.child(key.name).to_string(),
                    only_with: with.clone(),
                    holds: String::new(),
                    default: defaults
                        .get(key.name)
                        .map(Value::to_string)
                        .unwrap_or_default(),
                    range,
                    meaning: key.meaning.to_owned(),
                });
            }
        }
    }

    fn losses(&mut self, at: &KeyPath) -> Result<()> {
        let wrong = |e: serde_json::Error| Error::input("the list of losses", e);
        let sheets: Vec<Sheet> = serde_json::from_str(&pages::json()?).map_err(wrong)?;
        let names: Vec<&str> = sheets.iter().map(|sheet| sheet.name.as_str()).collect();
        let range = format!("one of `{}`", names.join("`, `"));
        let what = "The loss, see docs/losses.";
        self.add(&at.child("name"), "", "text", Some(range), what);
        for sheet in &sheets {
            for key in &sheet.keys {
                let default = key.default.as_ref().map(serde_json::Value::to_string);
                self.rows.push(KeyRow {
                    key: format!("{at}.{}", key.path),
                    only_with: format!("{at}.name = \"{}\"", sheet.name),
                    holds: String::new(),
                    default: default.unwrap_or_default(),
                    range: key.range["description"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    meaning: key.meaning.clone(),
                });
            }
        }
        Ok(())
    }

    fn sources(&mut self, at: &KeyPath) {
        let kinds = FORMATS
            .iter()
            .flat_map(|info| info.sources.iter().map(|source| source.flag));
        self.kinds(at, kinds, "What the annotations are.");
        for info in FORMATS {
            for source in info.sources {
                let with = format!("{} = \"{}\"", at.child("kind"), source.flag);
                for option in std::iter::once(source).chain(info.options) {
                    self.add(&at.child(option.key), &with, "", None, option.help);
                }
            }
        }
    }
}

/// What is listed of a loss.
#[derive(Deserialize)]
struct Sheet {
    name: String,
    keys: Vec<LossKey>,
}

#[derive(Deserialize)]
struct LossKey {
    path: String,
    default: Option<serde_json::Value>,
    range: serde_json::Value,
    meaning: String,
}

/// A type without what is around it: `Option<Vec<f64>>` is `f64`.
fn bare(kind: &str) -> &str {
    let inner = kind
        .rsplit('<')
        .next()
        .unwrap_or(kind)
        .trim_end_matches('>');
    inner
        .rsplit("::")
        .next()
        .unwrap_or(inner)
        .trim_start_matches('[')
}

/// The words that a type without fields stands for.
fn words(name: &str) -> Option<String> {
    let variants = FIELDS
        .iter()
        .filter(|row| row.0 == name && row.2.is_empty());
    let names: Vec<String> = variants.map(|row| kebab(row.1)).collect();
    (!names.is_empty()).then(|| format!("one of `{}`", names.join("`, `")))
}

/// What a field of this type holds, in words.
fn holds(kind: &str) -> &'static str {
    let is_list = kind.contains("Vec<") || kind.starts_with('[');
    let name = bare(kind);
    let name = name.split([';', ']']).next().unwrap_or(name);
    match (is_list, name) {
        (true, "f64" | "f32") => "list of numbers",
        (true, "usize" | "u64" | "u32") => "list of whole numbers",
        (true, "Extent") => "list of lengths: steps or epochs, or parts of the training",
        (true, _) => "list",
        (false, "f64" | "f32") => "number",
        (false, "usize" | "u64" | "u32" | "i32" | "u8") => "whole number",
        (false, "bool") => "true or false",
        (false, "PathBuf") => "path",
        (false, "Extent") => "length: steps or epochs, a part of the training, or \"2 epochs\"",
        (false, "EpochLength") => "whole number, or \"class-aware\"",
        _ => "text",
    }
}

/// `ClassAware` as it stands in TOML.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_that_is_written_is_missing_and_each_has_a_meaning() {
        let rows = rows().unwrap();
        for text in USUAL {
            let whole = format!("name = 'x'\nmethod = 'x'\nsplit.source.kind = 'shapes'\n{text}\n");
            let table = Table::try_from(toml::from_str::<Experiment>(&whole).unwrap()).unwrap();
            for (key, _) in leaves(&table) {
                let known = |row: &KeyRow| row.key == key;
                let is_options = key.starts_with("split.source.");
                assert!(is_options || rows.iter().any(known), "{key} is missing");
            }
        }
        for row in &rows {
            assert!(!row.meaning.is_empty(), "{} has no meaning", row.key);
        }
        let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap();
        assert_eq!(row("train.batch_size").default, "32");
        assert_eq!(
            row("train.batch_size").range,
            "a whole number at or above 2"
        );
        assert_eq!(row("train.ema_decay").range, "a number from 0 to below 1");
        let cosine = "schedule.kind = \"cosine\"";
        assert_eq!(row("schedule.final_ratio").only_with, cosine);
        assert_eq!(
            row("optimizer.betas").only_with,
            "optimizer.kind = \"adamw\""
        );
        assert!(row("model.head.kind").range.contains("`csra`"));
        assert!(row("split.groups.tail").meaning.contains("20"));
    }
}
