//! The reference of keys: every key of a file, such as an experiment, with its type, default, range and meaning.
//!
//! Nothing is described here. Names, types and meanings are those of the types that are read
//! (`build.rs` takes the comments over), defaults are what those types make of what is left out, and
//! ranges are what their checks check; losses, heads and sources bring their own descriptions.

mod sample;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::data::formats::{FORMATS, FormatOption, OptionValue};
use crate::error::{Error, KeyPath, Result};
use crate::loss::pages;
use crate::model::backbone::adapter;
use crate::model::head::{self, Accepts};
use crate::optim;
pub use sample::Described;
use sample::Sample;

/// A field of a type, or a variant, as its file has it.
struct Field {
    /// The file, from the root of the project.
    file: &'static str,
    /// The type.
    of: &'static str,
    /// The variant that the field belongs to; empty in a struct.
    variant: &'static str,
    /// Its name in TOML; empty for the variant itself.
    name: &'static str,
    /// Its type; empty for a variant without one.
    kind: &'static str,
    /// Its comment in a line.
    comment: &'static str,
}

/// `build.rs` writes the list.
const FIELDS: &[Field] = include!(concat!(env!("OUT_DIR"), "/fields.rs"));

/// Types that are read from a value, whatever their variants are in Rust.
const VALUES: [&str; 5] = ["Extent", "EpochLength", "Separator", "Checkpoint", "Table"];

/// Tables that are off where they are missing, with what makes them be there.
const OFF: [(&str, &str); 2] = [
    ("model.adapter", "model.adapter.kind = \"lora\""),
    ("input.augment.mixup", "input.augment.mixup.alpha = 0.2"),
];

/// A key, a row of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key with the tables above it.
    pub key: String,
    /// The kind of its table that has it, such as `kind = "cosine"`; empty where all have it.
    pub only_with: String,
    /// What it holds: `number`, `whole number`, `text`, `true or false`, `path`, a list, words; empty
    /// where the range says it.
    pub holds: String,
    /// Whether it has to be there.
    pub required: bool,
    /// What it is where it is left out, in TOML; empty where that is nothing.
    pub default: String,
    /// What is accepted; empty where the type says it all.
    pub range: String,
    /// What it does.
    pub meaning: String,
}

/// Every key of a file that is read as `T`, such as an [`Experiment`], in the order of the tables.
///
/// # Errors
/// A file that shows defaults cannot be read, which is a mistake of this program.
///
/// [`Experiment`]: crate::config::Experiment
pub fn rows<T: Described>() -> Result<Vec<KeyRow>> {
    let mut reference = Reference::<T> {
        samples: BTreeMap::new(),
        rows: Vec::new(),
    };
    reference.of_type(T::NAMED, &KeyPath::root(), "")?;
    Ok(reference.rows)
}

/// The rows whose key begins with `prefix`, in whole names: `train` is no beginning of `training`.
///
/// # Errors
/// There is none; the nearest key or table is named.
pub fn below(rows: &[KeyRow], prefix: &str) -> Result<Vec<KeyRow>> {
    let prefix = prefix.trim_end_matches('.');
    let wanted = KeyPath::from(prefix);
    let is_below = |row: &&KeyRow| {
        let key = KeyPath::from(row.key.as_str());
        wanted.holds(&key)
    };
    let found: Vec<KeyRow> = rows.iter().filter(is_below).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let error = Error::argument("PREFIX", format_args!("no key begins with `{prefix}`"));
    let ends = |row: &&KeyRow| row.key.rsplit('.').next() == Some(prefix);
    if let Some(row) = rows.iter().find(ends) {
        return Err(error.hint(format_args!("did you mean `{}`?", row.key)));
    }
    let mut known: Vec<&str> = Vec::new();
    for row in rows {
        let ends = row.key.match_indices('.').map(|(end, _)| &row.key[..end]);
        known.extend(ends.chain([row.key.as_str()]));
    }
    Err(error
        .hint("`dbloss config keys` lists all of them")
        .did_you_mean(prefix, known))
}

struct Reference<T> {
    samples: BTreeMap<String, Sample<T>>,
    rows: Vec<KeyRow>,
}

impl<T: Described> Reference<T> {
    /// The file that has `with`.
    fn sample(&mut self, with: &str) -> Result<&Sample<T>> {
        if !self.samples.contains_key(with) {
            self.samples.insert(with.to_owned(), Sample::new(with)?);
        }
        Ok(&self.samples[with])
    }

    /// The fields of the type of this name that is named in a file; it is the table at `at`.
    fn of_type(&mut self, named: (&str, &str), at: &KeyPath, only_with: &str) -> Result<()> {
        for field in fields(named) {
            let with = match field.variant.is_empty() {
                true => only_with.to_owned(),
                false => with_kind(at, &kebab(field.variant)),
            };
            match (field.name.is_empty(), field.kind.is_empty()) {
                (true, true) => {}
                // A variant whose keys are those of another type.
                (true, false) => self.of_type((bare(field.kind), field.file), at, &with)?,
                _ => self.of_field(at, field, &with)?,
            }
        }
        Ok(())
    }

    fn of_field(&mut self, at: &KeyPath, field: &Field, with: &str) -> Result<()> {
        let key = at.child(field.name);
        let type_name = bare(field.kind);
        let named = (type_name, field.file);
        match type_name {
            "Kind" => {
                let types = match field.file.contains("adapter") {
                    true => adapter::Kind::TYPES,
                    false => optim::Kind::TYPES,
                };
                let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
                self.kinds(at, &names, field.comment)?;
                for (name, of) in types {
                    self.of_type((of, field.file), at, &with_kind(at, name))?;
                }
            }
            "HeadConfig" => self.heads(&key)?,
            "LossConfig" => self.losses(&key)?,
            "Source" => self.sources(&key)?,
            "Written" => {}
            _ if is_table(named) => {
                let variants: Vec<String> = variants(named).collect();
                if !variants.is_empty() {
                    let names: Vec<&str> = variants.iter().map(String::as_str).collect();
                    self.kinds(&key, &names, field.comment)?;
                }
                self.of_type(named, &key, with)?;
            }
            _ => {
                let words: Vec<String> = variants(named).collect();
                let row = KeyRow {
                    range: one_of(&words),
                    ..plain(&key, with, holds(field.kind), field.comment)
                };
                self.add(&key, row, words)?;
            }
        }
        Ok(())
    }

    /// The key `kind` of the table at `at`; the first name is the kind where none is named, unless
    /// there is no table then.
    fn kinds(&mut self, at: &KeyPath, names: &[&str], comment: &str) -> Result<()> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = at.child("kind");
        let row = KeyRow {
            range: one_of(&names),
            ..plain(&key, "", "text", comment)
        };
        self.add(&key, row, names)
    }

    /// Adds a row, with default and range as its sample has them; `words` are the names that the key
    /// may hold, if it holds names.
    fn add(&mut self, key: &KeyPath, mut row: KeyRow, words: Vec<String>) -> Result<()> {
        let mut candidates: Vec<Value> = words.into_iter().map(Value::from).collect();
        candidates.extend(numbers(&row.meaning));
        candidates.extend([false.into(), true.into(), 0.into(), 1.into(), "".into()]);
        let off = OFF
            .iter()
            .find(|(table, _)| KeyPath::from(*table).holds(key));
        let with = match (row.only_with.as_str(), off) {
            ("", Some((_, with))) => (*with).to_owned(),
            (with, _) => with.to_owned(),
        };
        let sample = self.sample(&with)?;
        row.required = sample.is_required(key);
        let mut default = sample.default(key, &candidates).filter(|_| !row.required);
        if let Some(range) = sample.range(key) {
            row.range = range.to_string();
        }
        if with.is_empty() {
            for other in T::OTHERS {
                let same = self.sample(other)?.default(key, &candidates) == default;
                // What it is depends on another key, and its meaning says how.
                default = default.filter(|_| same);
            }
        }
        row.default = default.as_ref().map_or(String::new(), shown);
        self.rows.push(row);
        Ok(())
    }

    fn heads(&mut self, at: &KeyPath) -> Result<()> {
        self.kinds(at, head::Kind::NAMES, "The classifier, see docs/heads.")?;
        for definition in head::Kind::DEFINITIONS {
            let with = with_kind(at, definition.name);
            for own in definition.keys {
                let key = at.child(own.name);
                let range = match &own.accepts {
                    Accepts::Range(range) => range.to_string(),
                    Accepts::Words(words) => (*words).to_owned(),
                };
                let row = KeyRow {
                    range,
                    ..plain(&key, &with, "", own.meaning)
                };
                self.add(&key, row, Vec::new())?;
            }
        }
        Ok(())
    }

    fn losses(&mut self, at: &KeyPath) -> Result<()> {
        let sheets = pages::sheets()?;
        let names: Vec<String> = sheets.iter().map(|sheet| sheet.name.to_owned()).collect();
        let key = at.child("name");
        let row = KeyRow {
            range: one_of(&names),
            required: true,
            ..plain(&key, "", "text", "The loss, see docs/losses.")
        };
        self.rows.push(row);
        for sheet in &sheets {
            for own in &sheet.keys {
                let default = own.default.as_ref().map(shown);
                self.rows.push(KeyRow {
                    default: default.unwrap_or_default(),
                    range: own.accepted().to_owned(),
                    ..plain(
                        &at.joined(&KeyPath::from(own.name.as_str())),
                        &loss_with(at, sheet.name, &own.name, own.kind),
                        "",
                        &own.meaning,
                    )
                });
            }
        }
        Ok(())
    }

    fn sources(&mut self, at: &KeyPath) -> Result<()> {
        let flags = FORMATS.iter().flat_map(|info| info.sources);
        let names: Vec<&str> = flags.map(|source| source.flag).collect();
        self.kinds(at, &names, "What the annotations are.")?;
        for info in FORMATS {
            // Further names stand for the same format.
            let Some(source) = info.sources.first() else {
                continue;
            };
            let with = with_kind(at, source.flag);
            for option in [source].into_iter().chain(info.options) {
                if option.key != "kind" {
                    self.add_option(&at.child(option.key), &with, option)?;
                }
            }
        }
        Ok(())
    }

    /// A key of a source.
    fn add_option(&mut self, key: &KeyPath, with: &str, option: &FormatOption) -> Result<()> {
        let (holds, words) = match option.value {
            OptionValue::Nothing => ("true or false", &[][..]),
            OptionValue::Path(_) => ("path", &[][..]),
            OptionValue::Text(_) => ("text", &[][..]),
            OptionValue::Whole(_) => ("whole number", &[][..]),
            OptionValue::Number(_) => ("number", &[][..]),
            OptionValue::Choice(words) => ("text", words),
        };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let row = KeyRow {
            range: one_of(&words),
            ..plain(key, with, holds, option.help)
        };
        self.add(key, row, words)
    }
}

/// A row without default and range.
fn plain(key: &KeyPath, with: &str, holds: &str, meaning: &str) -> KeyRow {
    KeyRow {
        key: key.to_string(),
        only_with: with.to_owned(),
        holds: holds.to_owned(),
        required: false,
        default: String::new(),
        range: String::new(),
        meaning: meaning.to_owned(),
    }
}

/// That the table at `at` is of this kind.
fn with_kind(at: &KeyPath, name: &str) -> String {
    format!("{} = \"{name}\"", at.child("kind"))
}

/// What a loss must be for the key at `path`: one of the name, and in parts that are put together
/// the part that has the key of the `kind`.
fn loss_with(at: &KeyPath, name: &str, path: &str, kind: Option<&str>) -> String {
    let named = format!("{} = \"{name}\"", at.child("name"));
    let Some(kind) = kind.filter(|_| name == "composed") else {
        return named;
    };
    let own = path.trim_end_matches(".kind");
    match own.rsplit_once('.') {
        Some((part, _)) => {
            let part = at.joined(&KeyPath::from(part));
            format!("{named}, {}", with_kind(&part, kind))
        }
        None => named,
    }
}

/// The fields and variants of the type that a file calls by a name. Of several types of that name
/// the one that lies nearest is meant.
fn fields((name, from): (&str, &str)) -> impl Iterator<Item = &'static Field> {
    let shared = |file: &str| {
        let same = file
            .split('/')
            .zip(from.split('/'))
            .take_while(|(a, b)| a == b);
        same.count()
    };
    let all = FIELDS.iter().filter(move |field| field.of == name);
    let file = all
        .clone()
        .map(|field| field.file)
        .max_by_key(|file| shared(file));
    all.filter(move |field| Some(field.file) == file)
}

/// Whether a type is a table: it has fields, or variants with fields.
fn is_table(named: (&str, &str)) -> bool {
    let has_fields = |field: &Field| !field.name.is_empty() || !field.kind.is_empty();
    !VALUES.contains(&named.0) && fields(named).any(has_fields)
}

/// The names of a type's variants in TOML.
fn variants(named: (&str, &str)) -> impl Iterator<Item = String> {
    let is_value = VALUES.contains(&named.0);
    fields(named)
        .filter(move |field| field.name.is_empty() && !is_value)
        .map(|field| kebab(field.variant))
}

/// A type without what is around it: `Option<Vec<f64>>` is `f64`.
fn bare(kind: &str) -> &str {
    let inner = kind.rsplit('<').next().unwrap_or(kind);
    let inner = inner.trim_end_matches('>');
    let inner = inner.rsplit("::").next().unwrap_or(inner);
    inner.trim_start_matches('[')
}

/// What a field of this type holds, in words.
fn holds(kind: &str) -> &'static str {
    let is_list = kind.contains("Vec<") || kind.starts_with('[');
    let name = bare(kind);
    let name = name.split([';', ']']).next().unwrap_or(name);
    match (is_list, name) {
        _ if kind.contains("Map<") || name == "Table" => "table",
        (true, "f64" | "f32") => "list of numbers",
        (true, "usize" | "u64" | "u32") => "list of whole numbers",
        (true, "Extent") => "list of lengths: steps or epochs, or fractions of the training",
        (true, _) => "list",
        (false, "f64" | "f32") => "number",
        (false, "usize" | "u64" | "u32" | "i32" | "u8") => "whole number",
        (false, "bool") => "true or false",
        (false, "PathBuf") => "path",
        (false, "Extent") => "length: steps or epochs, a fraction of the training, or \"2 epochs\"",
        (false, "EpochLength") => "whole number, or \"class-aware\"",
        (false, "Checkpoint") => {
            "text: `last`, `best`, or `epoch-3` for the one after three epochs"
        }
        _ => "text",
    }
}

/// A value in TOML; a number of single precision with the digits that it has.
fn shown(value: &Value) -> String {
    match value {
        Value::Float(x) if f64::from(*x as f32) == *x => Value::Float(
            // The shortest digits of the single precision.
            (*x as f32).to_string().parse().unwrap_or(*x),
        )
        .to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    }
}

/// The numbers in a text, parts such as 1/3 among them.
fn numbers(text: &str) -> Vec<Value> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-/".contains(c)));
    let words = words.map(|word| word.trim_end_matches('.'));
    let mut found = Vec::new();
    for word in words {
        let part = word.split_once('/').and_then(|(above, below)| {
            let (above, below): (f64, f64) = (above.parse().ok()?, below.parse().ok()?);
            Some(above / below)
        });
        found.extend(part.map(Value::Float));
        found.extend(word.parse::<i64>().ok().map(Value::Integer));
        found.extend(
            word.parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
                .map(Value::Float),
        );
    }
    found
}

/// The names that are accepted; nothing where there are none.
fn one_of(names: &[String]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!("one of `{}`", names.join("`, `")),
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
mod tests;
