//! The table of losses as text: for the terminal, as JSON, and as the pages under `docs/losses`.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::config::COMPOSED;
use super::definition::{Build, Definition, Parameter, Value};
use super::definitions;

/// What is said of losses that are put together part by part.
const COMPOSED_SUMMARY: &str = "any combination of kernel, weight, tolerance, margin, adjustment, focal factor and relabelling";

/// All losses for the terminal.
pub fn list() -> String {
    let mut text = String::new();
    for loss in definitions() {
        let _ = writeln!(text, "{}: {}", loss.name, loss.title);
        let _ = writeln!(text, "    formula  {}", loss.formula);
        for parameter in loss.parameters {
            let _ = writeln!(
                text,
                "    {} = {}  {}; {}",
                parameter.name,
                quoted(&parameter.default),
                parameter.meaning,
                accepted(parameter),
            );
        }
        let _ = writeln!(text, "    use      {}", loss.when);
        let _ = writeln!(text, "    source   {}\n", loss.source);
    }
    let _ = writeln!(text, "{COMPOSED}: {COMPOSED_SUMMARY}, each a table in TOML");
    text
}

/// All losses as JSON.
pub fn json() -> String {
    let losses: Vec<Json> = (definitions().into_iter())
        .map(|loss| {
            let parameters: Vec<Json> = (loss.parameters.iter())
                .map(|parameter| {
                    let default = match parameter.default {
                        Value::Number(x) => json!(x),
                        Value::Integer(i) => json!(i),
                        Value::Choice(word) => json!(word),
                        Value::Flag(flag) => json!(flag),
                    };
                    json!({
                        "name": parameter.name,
                        "default": default,
                        "accepted": parameter.range.to_string(),
                        "unit": parameter.unit,
                        "meaning": parameter.meaning,
                    })
                })
                .collect();
            json!({
                "name": loss.name,
                "title": loss.title,
                "formula": loss.formula,
                "parameters": parameters,
                "when": loss.when,
                "source": loss.source,
                "notes": loss.notes,
            })
        })
        .collect();
    format!("{:#}\n", Json::Array(losses))
}

/// All losses as one Markdown document.
pub fn markdown() -> String {
    let pages: Vec<String> = definitions().into_iter().map(page).collect();
    format!("{}\n{}", index(""), pages.join("\n"))
}

/// The overview: which loss stands for which published method. `suffix` follows a name in links
/// (`.md` for files; empty for headings of the same document).
pub fn index(suffix: &str) -> String {
    let mut text = String::from(
        "# Losses\n\n\
        Notation: N training images, n_c of them with class c; z the logit of an image and a class, \
        y its label (0 or 1), p = sigmoid(z), softplus(x) = log(1 + e^x), l = softplus(z) - y z. \
        `dbloss loss list` prints what follows, and `dbloss loss show NAME --split DIR` what a loss \
        does to each class of a split.\n\n\
        | name | stands for | published in |\n| --- | --- | --- |\n",
    );
    for loss in definitions() {
        let link = match suffix {
            "" => format!("#{}", loss.name),
            suffix => format!("{}{suffix}", loss.name),
        };
        let _ = writeln!(
            text,
            "| [`{}`]({link}) | {} | {} |",
            loss.name, loss.title, loss.source
        );
    }
    let link = if suffix.is_empty() { "" } else { "composed.md" };
    let _ = match link {
        "" => writeln!(text, "| `{COMPOSED}` | {COMPOSED_SUMMARY} | |"),
        link => writeln!(text, "| [`{COMPOSED}`]({link}) | {COMPOSED_SUMMARY} | |"),
    };
    text
}

/// The page of one loss.
pub fn page(loss: &Definition) -> String {
    let mut text = format!(
        "# {}\n\n{}\n\nFormula:\n\n```text\n{}\n```\n\n",
        loss.name,
        loss.title,
        loss.formula
            .replace(";  ", "\n")
            .replace(":  ", ":\n")
            .replace(",  ", "\n"),
    );
    text.push_str(
        "| parameter | default | accepted | unit | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for parameter in loss.parameters {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            parameter.name,
            parameter.default,
            parameter.range,
            if parameter.unit.is_empty() {
                "none"
            } else {
                parameter.unit
            },
            parameter.meaning,
        );
    }
    let _ = write!(text, "\nUse it when: {}.\n\n", loss.when);
    if !loss.notes.is_empty() {
        let _ = write!(text, "{}\n\n", loss.notes);
    }
    let _ = write!(text, "Source: {}.\n\n", loss.source);
    let _ = write!(text, "```toml\n[loss]\nname = \"{}\"\n", loss.name);
    for parameter in loss.parameters {
        let _ = writeln!(text, "{} = {}", parameter.name, quoted(&parameter.default));
    }
    text.push_str("```\n");
    if let Build::Own(_) = loss.build {
        text.push_str(
            "\nIt is not element-wise: the terms of an image depend on each other, so it has no \
             class weights and does not combine with the parts of `composed`.\n",
        );
    }
    text
}

/// A default as TOML writes it.
fn quoted(value: &Value<&str>) -> String {
    match value {
        Value::Choice(word) => format!("\"{word}\""),
        Value::Number(x) => format!("{x:?}"),
        other => other.to_string(),
    }
}

fn accepted(parameter: &Parameter) -> String {
    match parameter.unit {
        "" => parameter.range.to_string(),
        unit => format!("{}, in {unit}", parameter.range),
    }
}
