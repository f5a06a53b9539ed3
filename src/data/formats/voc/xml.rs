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

/// What is read of an annotation file.
#[derive(Debug, PartialEq)]
pub(super) struct Annotation {
    /// Class names, one an object that counts.
    pub names: Vec<String>,
    /// Objects passed over as difficult.
    pub difficult: usize,
    /// The picture's name, as the file has it.
    pub file_name: Option<String>,
}

/// Reads an annotation's text; `path` is named in errors.
pub(super) fn parse(text: &str, path: &Path, difficult: Difficult) -> Result<Annotation> {
    let options = roxmltree::ParsingOptions {
        // Some annotation tools write a DOCTYPE; entities are bounded by the parser.
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
        file_name: text_of(root, "filename").map(str::to_owned),
    };
    for object in root.children().filter(|&node| is_tag(node, "object")) {
        let line = || u64::from(document.text_pos_at(object.range().start).row);
        if difficult == Difficult::Ignore
            && flag(text_of(object, "difficult").unwrap_or(""))
                .map_err(|problem| Error::line(path, line(), problem))?
        {
            annotation.difficult += 1;
            continue;
        }
        match text_of(object, "name").filter(|name| !name.is_empty()) {
            Some(name) => annotation.names.push(name.to_owned()),
            None => return Err(Error::line(path, line(), "an `object` has no `name`")),
        }
    }
    Ok(annotation)
}

/// True for an element of that name in any letter case.
fn is_tag(node: roxmltree::Node, name: &str) -> bool {
    node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name)
}

/// The text of the child element of that name, without blanks around it.
fn text_of<'a>(node: roxmltree::Node<'a, '_>, name: &str) -> Option<&'a str> {
    let child = node.children().find(|&child| is_tag(child, name));
    child.and_then(|child| child.text()).map(str::trim)
}

/// `difficult` as tools write it.
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
