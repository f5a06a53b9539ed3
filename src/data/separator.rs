//! How the labels of an image are joined in a column, and detection of names that look joined
//! otherwise.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::class_name::LABEL_SEPARATOR;

/// What stands between the labels of an image in a table's column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Separator {
    /// A text between the names.
    Text(String),
    /// A list as Python or JSON writes it: `['cat', 'dog']`.
    List,
}

impl Default for Separator {
    fn default() -> Self {
        Separator::Text(LABEL_SEPARATOR.to_string())
    }
}

/// Words for separators that are awkward to type.
const WORDS: [(&str, &str); 4] = [
    ("comma", ","),
    ("semicolon", ";"),
    ("tab", "\t"),
    ("space", " "),
];

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "list" {
            return Ok(Separator::List);
        }
        if let Some((_, separator)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(Separator::Text((*separator).to_owned()));
        }
        if text.is_empty() || text.chars().any(char::is_alphanumeric) {
            return Err(format!(
                "`{text}` cannot separate labels; expected a character such as `;`, or comma, semicolon, tab, space or list"
            ));
        }
        Ok(Separator::Text(text.to_owned()))
    }
}

impl TryFrom<String> for Separator {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Separator> for String {
    fn from(separator: Separator) -> String {
        match separator {
            Separator::Text(text) => text,
            Separator::List => "list".into(),
        }
    }
}

impl Separator {
    /// Splits a column's text into names, skipping empty ones. The error says why it is not a list.
    pub(crate) fn split<'a>(&self, cell: &'a str) -> Result<Vec<&'a str>, String> {
        let names = match self {
            Separator::Text(separator) => cell.split(separator.as_str()).collect(),
            Separator::List => list(cell)?,
        };
        let names = names.into_iter().map(str::trim);
        Ok(names.filter(|name| !name.is_empty()).collect())
    }
}

/// Returns the elements of a bracketed list, with or without quotes, separated by commas or blanks.
fn list(cell: &str) -> Result<Vec<&str>, String> {
    let problem = || format!("`{cell}`, expected a list such as `['cat', 'dog']`");
    if cell.is_empty() {
        return Ok(Vec::new());
    }
    let inner = [('[', ']'), ('(', ')'), ('{', '}')].into_iter();
    let mut rest = inner
        .filter_map(|(open, close)| cell.strip_prefix(open)?.strip_suffix(close))
        .next()
        .ok_or_else(problem)?;
    let mut names = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let Some(first) = rest.chars().next() else {
            return Ok(names);
        };
        let end = match first {
            '"' | '\'' => {
                rest = &rest[1..];
                let end = rest.find(first).ok_or_else(problem)?;
                // Escapes would have to be decoded; no class name needs them.
                if rest[..end].contains('\\') {
                    return Err(problem());
                }
                names.push(&rest[..end]);
                end + 1
            }
            _ => {
                let end = rest.find(',').unwrap_or(rest.len());
                names.push(&rest[..end]);
                end
            }
        };
        rest = &rest[end..];
        // A name is followed by a comma, a blank (NumPy) or the end.
        if !rest.is_empty() && !rest.starts_with(|c: char| c.is_whitespace() || c == ',') {
            return Err(problem());
        }
    }
}

/// Returns true if a text is certainly a bracketed list rather than a name in brackets.
pub(crate) fn is_list(cell: &str) -> bool {
    let telling = cell.contains(['"', '\'', ',']) || cell == "[]";
    telling && cell.starts_with(['[', '(']) && cell.ends_with([']', ')']) && list(cell).is_ok()
}

/// Characters that may join names, and whether parts that occur in other joined names also count as
/// evidence. For the others (false), each part must occur alone as a name.
const JOINING: [(char, bool); 13] = [
    (LABEL_SEPARATOR, true),
    (',', true),
    (';', true),
    ('\t', true),
    ('，', true),
    ('；', true),
    ('、', true),
    ('｜', true),
    ('/', false),
    ('+', false),
    ('&', false),
    (':', false),
    (' ', false),
];

/// Returns the first name that is composed of other names, with the character that joins them.
pub(crate) fn joined(names: &[String]) -> Option<(usize, char)> {
    JOINING.into_iter().find_map(|(sign, joined_too)| {
        let parts = |name: &str| -> Vec<String> {
            let parts = name.split(sign).map(|part| part.trim().to_owned());
            parts.filter(|part| !part.is_empty()).collect()
        };
        let alone: HashSet<&str> = (names.iter().map(String::as_str))
            .filter(|name| !name.contains(sign))
            .collect();
        let mut joined: HashMap<String, usize> = HashMap::new();
        for name in names.iter().filter(|name| name.contains(sign)) {
            let distinct: HashSet<String> = parts(name).into_iter().collect();
            for part in distinct {
                *joined.entry(part).or_default() += 1;
            }
        }
        let known = |part: &String| {
            alone.contains(part.as_str())
                || (joined_too && joined.get(part).is_some_and(|&n| n > 1))
        };
        let made_of_others = |name: &String| {
            let parts = parts(name);
            name.contains(sign) && parts.len() > 1 && parts.iter().all(known)
        };
        names.iter().position(made_of_others).map(|at| (at, sign))
    })
}

/// Returns the character that splits `name` into several names that are all known.
pub(crate) fn parts_known(name: &str, known: impl Fn(&str) -> bool) -> Option<char> {
    JOINING.into_iter().map(|(sign, _)| sign).find(|&sign| {
        let parts = name
            .split(sign)
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.clone().count() > 1 && parts.into_iter().all(&known)
    })
}

/// Returns the command-line option that selects `sign`.
pub(crate) fn argument(sign: char) -> String {
    let text = sign.to_string();
    match WORDS.iter().find(|(_, separator)| *separator == text) {
        Some((word, _)) => format!("--separator {word}"),
        None => format!("--separator '{sign}'"),
    }
}

/// Texts that pandas writes or reads as a missing value.
pub(crate) const NO_VALUE: [&str; 18] = [
    "nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA",
    "null", "NULL", "None", "NaT", "1.#QNAN", "1.#IND",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn split(separator: &str, cell: &str) -> Result<Vec<String>, String> {
        let separator: Separator = separator.parse()?;
        let names = separator.split(cell)?;
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn labels_are_parted_as_told() {
        for (separator, cell) in [
            ("|", "cat | dog|"),
            (";", "cat;dog"),
            ("comma", "cat, dog"),
            ("space", "cat  dog"),
            ("; ", "cat; dog"),
            ("list", "['cat', 'dog']"),
            ("list", r#"["cat","dog"]"#),
            ("list", "['cat' 'dog']"),
            ("list", "[cat, dog]"),
            ("list", "('cat', 'dog',)"),
        ] {
            assert_eq!(split(separator, cell).unwrap(), ["cat", "dog"], "{cell}");
        }
        assert!(split("list", "[]").unwrap().is_empty());
        assert_eq!(
            split("list", "['hot dog', \"d'or\"]").unwrap(),
            ["hot dog", "d'or"]
        );
        for wrong in ["cat", "['cat'", "['cat']['dog']", "['cat"] {
            assert!(split("list", wrong).is_err(), "{wrong}");
        }
        assert!("x".parse::<Separator>().is_err() && "".parse::<Separator>().is_err());
    }

    #[test]
    fn joined_names_tell_on_each_other() {
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            joined(&names).map(|(at, sign)| (names[at].clone(), sign))
        };
        let some = |name: &str, sign| Some((name.to_owned(), sign));
        assert_eq!(found(&["cat,dog", "cat", "dog"]), some("cat,dog", ','));
        assert_eq!(
            found(&["cat; dog", "dog; cow", "cow; cat"]),
            some("cat; dog", ';')
        );
        assert_eq!(found(&["cat，dog", "cat", "dog"]), some("cat，dog", '，'));
        assert_eq!(found(&["cat dog", "cat", "dog"]), some("cat dog", ' '));
        // Names of several words are single names.
        assert_eq!(found(&["red car", "red bus", "blue car", "blue bus"]), None);
        assert_eq!(found(&["hot dog", "dog", "bus, coach", "truck"]), None);
    }
}
