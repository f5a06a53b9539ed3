//! The rules for class names.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Separates the labels of an image in the tables of a split.
pub(super) const LABEL_SEPARATOR: char = '|';

/// Normalises a name: trims it and converts it to Unicode NFC. The error describes what a name must
/// not contain.
pub(crate) fn clean(name: &str) -> Result<Cow<'_, str>, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("the class name is empty".into());
    }
    if let Some(found) = name.chars().find(|&c| is_invisible(c)) {
        return Err(format!(
            "the class name `{}` contains the invisible character U+{:04X}",
            visible(name),
            u32::from(found)
        ));
    }
    if name.contains(LABEL_SEPARATOR) {
        return Err(format!(
            "the class name `{name}` contains `{LABEL_SEPARATOR}`, which separates labels"
        ));
    }
    Ok(nfc(name))
}

/// Converts a text to Unicode NFC.
pub(crate) fn nfc(text: &str) -> Cow<'_, str> {
    match text.is_ascii() || is_nfc(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.nfc().collect()),
    }
}

/// Returns true for control characters and characters without any visible trace. Joiners are not
/// included: Persian, Indic scripts and emoji need them.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes the characters that a terminal would interpret or not show.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Returns a form that is equal for names that look alike: it ignores letter case, the kind and
/// number of blanks, full width, surrounding quotes, and the difference between a blank, `_` and
/// `-`.
pub(crate) fn appearance(name: &str) -> String {
    let folded: String = (name.nfkc())
        .filter(|c| !matches!(c, '\u{200c}' | '\u{200d}'))
        .flat_map(char::to_lowercase)
        .map(|c| if matches!(c, '_' | '-') { ' ' } else { c })
        .collect();
    let folded = folded.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_unicode_forms_do_not_make_another_name() {
        for raw in ["café", "cafe\u{301}", " café\t", "\u{a0}café\u{3000}"] {
            assert_eq!(clean(raw).unwrap(), "café");
        }
        // A joiner is part of a word.
        assert_eq!(clean("می\u{200c}خواهم").unwrap(), "می\u{200c}خواهم");
    }

    #[test]
    fn what_cannot_be_seen_is_refused_and_shown() {
        for (raw, code) in [
            ("a\u{1b}[31mb", "U+001B"),
            ("\u{feff}cat", "U+FEFF"),
            ("c\u{200b}at", "U+200B"),
            ("a\nb", "U+000A"),
            ("a\u{202e}b", "U+202E"),
        ] {
            let problem = clean(raw).unwrap_err();
            assert!(problem.contains(code), "{problem}");
            assert!(!problem.chars().any(is_invisible), "{problem}");
        }
        assert!(clean(" ").unwrap_err().contains("empty"));
        assert!(clean("a|b").unwrap_err().contains('|'));
    }

    #[test]
    fn alike_is_what_a_reader_would_confuse() {
        let cat = appearance("small cat");
        for other in [
            "Small  Cat",
            "small\u{a0}cat",
            "ｓｍａｌｌ cat",
            "small_cat",
            "\"small cat\"",
        ] {
            assert_eq!(appearance(other), cat, "{other}");
        }
        assert_ne!(appearance("small cats"), cat);
    }
}
