//! Generates the documentation pages of the heads from their definitions.

use std::fmt::Write as _;

use super::interface::{Accepts, Definition, Takes};
use super::{HeadConfig, Kind};
use crate::error::{Error, KeyPath, Result};

/// The text before the table of heads.
const INTRODUCTION: &str = "\
# Heads

`[model.head] kind` chooses the classifier, from features to one logit per class. Without such a table
it is `linear`, as published.

```toml
[model.head]
kind = \"cosine\"
scale = 30.0
```

Notation: x is the input of the head, [width] for each image; x_k is the maps at place k; z_c is the
logit of class c; C is the number of classes.

## Head and neck

A head takes one of two things:

- the **embedding**: the pooled features behind the neck. The neck is the published one (linear, batch
  norm, dropout) unless `model.neck = { kind = \"none\" }`: then the embedding is the pooled features
  themselves.
- the **maps**, as they come from the backbone. There is no place for a neck then, and
  `model.neck = { kind = \"none\" }` has to be set: a neck that is configured is never dropped
  silently.

A part with `optimizer.groups.<part> = 0` is frozen completely: the neck's batch norm then uses its
running statistics without updating them, and a memory in the head does not change.

All parameters of a head are named `head.<name>` and belong to the group `head` of
`optimizer.groups`; anything it stores besides parameters is in the checkpoint too.

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
