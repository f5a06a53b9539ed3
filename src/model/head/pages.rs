//! Generates the documentation pages of the heads from their definitions.

use std::fmt::Write as _;

use super::interface::{Accepts, Definition, Takes};
use super::{HeadConfig, Kind};
use crate::error::{Error, KeyPath, Result};

/// The text before the table of heads.
const INTRODUCTION: &str = "\
# Heads

`[model.head] kind` chooses the classifier, from features to a logit a class. Where there is no such
table it is `linear`, as published.

```toml
[model.head]
kind = \"cosine\"
scale = 30.0
```

Notation: x is what the head takes, [width] for each image; x_k the maps at the place k; z_c the
logit of class c; C the number of classes.

## Head and neck

A head takes one of two things:

- the **embedding**: the pooled features behind the neck. The neck is the published one (linear, batch
  norm, dropout) unless `model.neck = { kind = \"none\" }`: then the embedding is the pooled features
  themselves.
- the **maps**, as the backbone leaves them. There is no place for a neck then, and
  `model.neck = { kind = \"none\" }` has to be said: a neck that is asked for is never dropped in
  silence.

A part with `optimizer.groups.<part> = 0` is held still as a whole: the neck's batch norm then uses
its running statistics and does not move them, a memory in the head does not move.

All parameters of a head are named `head.<name>` and belong to the group `head` of
`optimizer.groups`; what it keeps without learning lies in the checkpoint too.

";

/// Returns the overview of all heads; names link to their pages.
pub fn index() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| head | takes | published in |\n| --- | --- | --- |\n");
    for kind in Kind::defaults() {
        let Definition { name, source, .. } = kind.definition();
        let takes = takes(kind.settings().takes());
        let _ = writeln!(text, "| [`{name}`]({name}.md) | {takes} | {source} |");
    }
    text
}

fn takes(takes: Takes) -> &'static str {
    match takes {
        Takes::Embedding => "embedding",
        Takes::Maps => "maps",
    }
}

/// Returns the page of one head.
///
/// # Errors
/// If its defaults cannot be written as TOML.
pub fn page(kind: &Kind) -> Result<String> {
    let head = kind.definition();
    let broken = |e: &dyn std::fmt::Display| Error::key(KeyPath::from("model.head"), e);
    let defaults = kind.keys().map_err(|e| broken(&e))?;
    let (name, title, formula, source) = (head.name, head.title, head.formula, head.source);
    let takes = takes(kind.settings().takes());
    let mut text = format!(
        "# {name}\n\n{title}. Takes the {takes}; see [head and neck](README.md#head-and-neck).\n\n\
         ```text\n{formula}\n```\n\n\
         | key | default | accepted | meaning |\n| --- | --- | --- | --- |\n"
    );
    for key in head.keys {
        let default = match defaults.get(key.name) {
            Some(value) => format!("`{value}`"),
            None => "none".to_owned(),
        };
        let accepted = match &key.accepts {
            Accepts::Range(range) => range.to_string(),
            Accepts::Words(words) => (*words).to_owned(),
        };
        let (name, meaning) = (key.name, key.meaning);
        let _ = writeln!(text, "| `{name}` | {default} | {accepted} | {meaning} |");
    }
    let example = toml::to_string(&HeadConfig(kind.clone())).map_err(|e| broken(&e))?;
    let notes = head.notes;
    let _ = write!(
        text,
        "\n{notes}\n\nSource: {source}.\n\n```toml\n[model.head]\n{example}```\n"
    );
    Ok(text)
}
