//! The XML annotation of one picture.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What objects flagged `difficult` are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difficult {
    /// They count like any other, as in the published benchmarks.
    #[default]
    Count,
    /// They give no label.
    Ignore,
}

/// The parts of an annotation file that are used.
#[derive(Debug, PartialEq)]
pub(super) struct Annotation {
    /// Class names, one per object that counts.
    pub names: Vec<String>,
    /// Number of objects skipped as difficult.
    pub difficult: usize,
    /// The name of the picture as given in the file.
    pub file_name: Option<String>,
}

/// Parses the text of an annotation; `path` appears in errors.
pub(super) fn parse(text: &str, path: &Path, difficult: Difficult) -> Result<Annotation> {
    let options = roxmltree::ParsingOptions {
        // Some annotation tools write a DOCTYPE; the parser limits entity expansion.
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|e| {
        let line = u64::from(e.pos().row);
        Error::line(path, line, format_args!("malformed XML: {e}"))
    })?;
    let root = document.root_element();
    if !is_tag(root, "annotation") {
        let problem = format_args!(
            "the root element is `{}`, expected `annotation`",
            root.tag_name().name()
        );
        return Err(Error::line(path, 1, problem));
    }
    let mut annotation = Annotation {
        names: Vec::new(),
        difficult: 0,
        file_name: text_of(root, "filename"),
    };
    for object in root.children().filter(|&node| is_tag(node, "object")) {
        let line = || u64::from(document.text_pos_at(object.range().start).row);
        if difficult == Difficult::Ignore
            && flag(&text_of(object, "difficult").unwrap_or_default())
                .map_err(|problem| Error::line(path, line(), problem))?
        {
            annotation.difficult += 1;
            continue;
        }
        let names = object.children().filter(|&child| is_tag(child, "name"));
        if names.count() > 1 {
            let problem = "an `object` has several `name`s";
            return Err(Error::line(path, line(), problem).hint("write one `object` for each"));
        }
        match text_of(object, "name").filter(|name| !name.is_empty()) {
            Some(name) => annotation.names.push(name),
            None => return Err(Error::line(path, line(), "an `object` has no `name`")),
        }
    }
    Ok(annotation)
}

/// Returns true for an element with that name, ignoring case.
fn is_tag(node: roxmltree::Node, name: &str) -> bool {
    node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name)
}

/// Returns the trimmed text of the child element with that name; comments within it are skipped.
fn text_of(node: roxmltree::Node, name: &str) -> Option<String> {
    let child = node.children().find(|&child| is_tag(child, name))?;
    let texts = child.children().filter(|part| part.is_text());
    let text: String = texts.filter_map(|part| part.text()).collect();
    Some(text.trim().to_owned())
}

/// Parses `difficult` in the variants that tools write.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "t" => Ok(true),
        "" | "false" | "no" | "n" | "f" | "unspecified" => Ok(false),
        number => match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number != 0.0),
            _ => Err(format!("`difficult` is `{text}`, expected 0 or 1")),
        },
    }
}
