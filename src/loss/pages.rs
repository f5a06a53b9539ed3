//! Descriptions of the losses as text: for the terminal, as JSON, and as the pages in
//! `docs/losses`.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value as Json, json};
use toml::Value;

use super::composition::Composition;
use super::config::COMPOSED;
use super::definition::{Definition, Form};
use super::part::{Accepts, Key, Kind, listed};
use super::{definitions, names};
use crate::error::Result;
use crate::range::Range;

/// Returns the list of accepted names for `--help`.
pub fn names_help() -> String {
    let names = names().join(", ");
    format!("One of {names}, or `{COMPOSED}`; `dbloss loss list` describes them")
}

/// The description of a loss. Its JSON form is one entry of `dbloss loss list --format json`.
#[derive(Debug, Serialize)]
pub struct Sheet {
    /// The name in TOML.
    pub name: &'static str,
    title: String,
    formula: &'static str,
    source: &'static str,
    when: &'static str,
    notes: &'static str,
    /// Its keys.
    pub keys: Vec<Entry>,
    /// Examples for the page only: a sentence and a `[loss]` table in TOML, either of which may be
    /// empty.
    #[serde(skip)]
    examples: Vec<(&'static str, String)>,
}

/// The description of a key.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The key in the `[loss]` table.
    pub name: String,
    /// The dotted path into the parts of a composition.
    path: String,
    /// The kind of part that has the key; `None` if the part has only one form.
    pub kind: Option<&'static str>,
    /// The default; `None` for a part that is left out by default.
    pub default: Option<Value>,
    /// The accepted values in terms of JSON Schema, with a description for people.
    range: Json,
    unit: &'static str,
    /// What the key does, without a full stop.
    pub meaning: String,
}

impl Entry {
    fn new(key: &Key, path: String, kind: &'static str, default: Option<Value>) -> Self {
        let mut range = match key.accepts {
            Accepts::Value(range) => schema(range),
            Accepts::Part(_) => json!({"type": "object"}),
        };
        range["description"] = json!(key.accepts.to_string());
        Entry {
            name: path.clone(),
            path,
            kind: (!kind.is_empty()).then_some(kind),
            default,
            range,
            unit: key.unit,
            meaning: phrase(key.meaning).to_owned(),
        }
    }

    /// Returns the entry of a key that holds a part: its kinds with their formulas.
    fn part(
        key: &Key,
        kinds: &[Kind],
        path: String,
        kind: &'static str,
        default: Option<Value>,
    ) -> Self {
        let mut entry = Entry::new(key, path, kind, None);
        if let [only] = kinds {
            entry.meaning = format!("{}: {}", entry.meaning, phrase(only.meaning));
            return entry;
        }
        entry.path += ".kind";
        entry.name.clone_from(&entry.path);
        entry.default = default.and_then(|part| part.get("kind").cloned());
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        entry.range = json!({
            "type": "string",
            "enum": names,
            "description": format!("one of {}", listed(names.iter().copied())),
        });
        for kind in kinds {
            let _ = write!(entry.meaning, "; `{}`: {}", kind.name, phrase(kind.meaning));
        }
        entry
    }

    /// Returns the accepted values in words.
    pub fn accepted(&self) -> &str {
        self.range["description"].as_str().unwrap_or_default()
    }
}

/// Returns a range in terms of JSON Schema.
fn schema(range: Range) -> Json {
    match range {
        Range::Finite => json!({"type": "number"}),
        Range::Positive => json!({"type": "number", "exclusiveMinimum": 0}),
        Range::NotNegative => json!({"type": "number", "minimum": 0}),
        Range::Within(low, high) => json!({"type": "number", "minimum": low, "maximum": high}),
        Range::Below(low, high) => {
            json!({"type": "number", "minimum": low, "exclusiveMaximum": high})
        }
        Range::Above(low, high) => {
            json!({"type": "number", "exclusiveMinimum": low, "maximum": high})
        }
        Range::Between(low, high) => {
            json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})
        }
        Range::Whole => json!({"type": "integer", "minimum": 0}),
        Range::AtLeast(least) => json!({"type": "integer", "minimum": least}),
        Range::WholeWithin(low, high) => {
            json!({"type": "integer", "minimum": low, "maximum": high})
        }
        Range::OneOf(words) => json!({"type": "string", "enum": words}),
        Range::Flag => json!({"type": "boolean"}),
    }
}

/// Returns the entries of all keys of `kind`, including those of its parts under every kind a part
/// can have.
fn entries(kind: &'static Kind, prefix: &str) -> Vec<Entry> {
    let defaults = (kind.defaults)();
    let mut found = Vec::new();
    for key in kind.keys {
        let path = format!("{prefix}{}", key.name);
        let default = defaults.get(key.name).cloned();
        match key.accepts {
            Accepts::Part(kinds) => {
                found.push(Entry::part(key, kinds, path.clone(), kind.name, default));
                let below = format!("{path}.");
                found.extend(kinds.iter().flat_map(|kind| entries(kind, &below)));
            }
            _ => found.push(Entry::new(key, path, kind.name, default)),
        }
    }
    found
}

/// Returns the descriptions of all losses; `composed` comes last.
pub fn sheets() -> Result<Vec<Sheet>> {
    let named = definitions().into_iter().map(sheet);
    named.chain([Ok(composed())]).collect()
}

/// Returns the description of a named loss.
pub fn sheet(loss: &Definition) -> Result<Sheet> {
    let settings = loss.settings(&loss.parts()?);
    let mut toml = format!("name = \"{}\"\n", loss.name);
    for setting in &settings {
        let _ = writeln!(toml, "{} = {}", setting.key.name, setting.value);
    }
    let mut examples = vec![("", toml)];
    match loss.form {
        Form::Own(..) => examples.push((
            "It is not element-wise: the terms of an image depend on each other, so it has no \
             class weights and does not combine with the parts of `composed`.",
            String::new(),
        )),
        Form::Preset("") => {}
        Form::Preset(preset) => {
            let lines = preset.lines().map(|line| format!("{}\n", line.trim()));
            let parts = lines.collect::<String>().replace('\'', "\"");
            examples.push((
                "The same built from parts, to combine with others:",
                format!("name = \"{COMPOSED}\"\n{parts}"),
            ));
        }
    }
    let keys = settings.into_iter().map(|setting| Entry {
        name: setting.key.name.to_owned(),
        ..Entry::new(setting.key, setting.path, setting.kind, Some(setting.value))
    });
    Ok(Sheet {
        name: loss.name,
        title: loss.title.to_owned(),
        formula: loss.formula,
        source: loss.source,
        when: loss.when,
        notes: loss.notes,
        keys: keys.collect(),
        examples,
    })
}

/// Returns the description of losses composed of parts.
fn composed() -> Sheet {
    let [all] = Composition::KINDS;
    let example = |parts: &str| format!("name = \"{COMPOSED}\"\n{parts}\n");
    Sheet {
        name: COMPOSED,
        title: phrase(all.meaning).to_owned(),
        formula: "scale x reduction over images i and classes c of  \
            weight(i, c) x focal(u) x kernel(u),  \
            u = lambda (z + shift_c) for a negative, z + shift_c - margin_c for a positive,  \
            shift_c = tau b_c (adjustment) + kappa b_c / lambda (tolerance),  \
            b_c = -log(N / n_c - 1)",
        source: "every element-wise named loss is a preset of these parts",
        when: "none of the named losses is the combination of parts that you want",
        notes: "A part that is left out has no effect. Losses of negatives are divided by lambda, \
            so that the slope for a far negative stays 1. A class without a training image \
            is weighted and shifted as if it had one, a class in every image as if half an image \
            lacked it. An image without positives has r = 0 for every class under \
            `rebalanced`, and counts as an image of the most frequent class in the modes of \
            `class-balanced` with one weight per image.",
        keys: entries(all, ""),
        examples: vec![
            (
                "Negative tolerance with re-weighting by the square root of the inverse frequency:",
                example(
                    "weight = { kind = \"inverse\", power = 0.5 }\n\
                     tolerance = { kappa = 0.05, lambda = 5.0 }",
                ),
            ),
            (
                "Asymmetric loss under re-balanced weights:",
                example(
                    "reduction = \"sum\"\n\
                     kernel = { kind = \"asymmetric\", gamma_negative = 4.0, gamma_positive = 1.0 }\n\
                     weight = { kind = \"rebalanced\", mu = 0.2 }",
                ),
            ),
        ],
    }
}

/// Returns the descriptions of all losses for the terminal.
pub fn list() -> Result<String> {
    let mut text = String::new();
    for sheet in sheets()? {
        let _ = writeln!(text, "{}: {}", sheet.name, sheet.title);
        let _ = writeln!(text, "    formula  {}", sheet.formula);
        for key in &sheet.keys {
            let kind = match (sheet.name, key.kind) {
                (COMPOSED, Some(kind)) => format!(" ({kind})"),
                _ => String::new(),
            };
            let default = key.default.as_ref();
            let default = default.map_or(String::new(), |value| format!(" = {value}"));
            let unit = match key.unit {
                "" => String::new(),
                unit => format!(", in {unit}"),
            };
            let (name, meaning, accepted) = (&key.name, &key.meaning, key.accepted());
            let _ = writeln!(
                text,
                "    {name}{kind}{default}  {meaning}; {accepted}{unit}"
            );
        }
        let _ = writeln!(text, "    use      {}", sheet.when);
        let _ = writeln!(text, "    source   {}\n", sheet.source);
    }
    Ok(text)
}

/// Returns the descriptions of all losses as JSON.
pub fn json() -> Result<String> {
    Ok(format!("{:#}\n", json!(sheets()?)))
}

/// Returns the descriptions of all losses as one Markdown document.
pub fn markdown() -> Result<String> {
    let pages: Vec<String> = sheets()?.iter().map(page).collect();
    Ok(format!("{}\n{}", index("")?, pages.join("\n")))
}

/// Returns the overview, which maps each loss to the published method it implements. `suffix` is
/// appended to a name in links (`.md` for files; empty for headings within the same document).
pub fn index(suffix: &str) -> Result<String> {
    let mut text = String::from(
        "# Losses\n\n\
        Notation: N training images, n_c of them with class c; z the logit of an image and a class, \
        y its label (0 or 1), p = sigmoid(z), softplus(x) = log(1 + e^x), l = softplus(z) - y z. \
        `dbloss loss list` prints what follows (for programs, with `--format json`), and `dbloss \
        loss show NAME --split DIR` shows what a loss does to each class of a split.\n\n\
        | name | loss | published in |\n| --- | --- | --- |\n",
    );
    for Sheet {
        name,
        title,
        source,
        ..
    } in sheets()?
    {
        let link = match suffix {
            "" => format!("#{name}"),
            suffix => format!("{name}{suffix}"),
        };
        let _ = writeln!(text, "| [`{name}`]({link}) | {title} | {source} |");
    }
    Ok(text)
}

/// Returns the page of one loss.
pub fn page(sheet: &Sheet) -> String {
    let lines = sheet
        .formula
        .replace(";  ", "\n")
        .replace(":  ", ":\n")
        .replace(",  ", "\n");
    let (name, title) = (sheet.name, &sheet.title);
    let mut text = format!("# {name}\n\n{title}\n\nFormula:\n\n```text\n{lines}\n```\n\n");
    text.push_str(
        "| key | default | accepted | unit | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for key in &sheet.keys {
        let kind = match (name, key.kind) {
            (COMPOSED, Some(kind)) => format!(" of `{kind}`"),
            _ => String::new(),
        };
        let default = key.default.as_ref();
        let default = default.map_or("none".to_owned(), |value| format!("`{value}`"));
        let unit = if key.unit.is_empty() {
            "none"
        } else {
            key.unit
        };
        let (name, meaning, accepted) = (&key.name, &key.meaning, key.accepted());
        let _ = writeln!(
            text,
            "| `{name}`{kind} | {default} | {accepted} | {unit} | {meaning} |"
        );
    }
    let _ = write!(text, "\nUse it when: {}.\n\n", sheet.when);
    if !sheet.notes.is_empty() {
        let _ = write!(text, "{}\n\n", sheet.notes);
    }
    let _ = writeln!(text, "Source: {}.", sheet.source);
    for (sentence, toml) in &sheet.examples {
        if !sentence.is_empty() {
            let _ = write!(text, "\n{sentence}\n");
        }
        if !toml.is_empty() {
            let _ = write!(text, "\n```toml\n[loss]\n{toml}```\n");
        }
    }
    text
}

/// Strips the full stop from a sentence, for use within a line of a list.
fn phrase(sentence: &str) -> &str {
    sentence.strip_suffix('.').unwrap_or(sentence)
}
