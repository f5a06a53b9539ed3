//! Wording for people: counts with their noun, and names in printable form.

/// Formats a number with its noun: `1 run`, `2 runs`, `0 classes`.
pub fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {}", plural(noun)),
    }
}

/// Number of names that are listed when there are many.
pub const FIRST_NAMED: usize = 5;

/// Lists the first few of `names`, quoted.
pub fn first_named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = (names.by_ref().take(FIRST_NAMED))
        .map(|name| format!("`{name}`"))
        .collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", first.join(", "))
}

/// Replaces control characters other than tabs and line ends, which the names of classes and files
/// may contain, by `\u{fffd}`, so that the text is valid in a terminal, an XML file and a page.
pub fn printable(text: &str) -> String {
    let forbidden = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let shown = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        c if forbidden(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Returns the verb for a number of things: `is` for 1, otherwise `are`.
pub fn is_or_are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

fn plural(noun: &str) -> String {
    let hisses = ["s", "x", "z", "ch", "sh"];
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if hisses.iter().any(|ending| noun.ends_with(ending)) => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{counted, printable};

    #[test]
    fn what_steers_a_terminal_is_shown_as_unknown() {
        assert_eq!(
            printable("a\u{1b}[2Jb\u{7}\n\té\u{9b}"),
            "a\u{fffd}[2Jb\u{fffd}\n\té\u{fffd}"
        );
    }

    #[test]
    fn nouns_follow_their_number() {
        let texts = [
            counted(1, "run"),
            counted(2, "thread"),
            counted(0, "class"),
            counted(3, "batch"),
            counted(1, "class"),
            counted(12, "entry"),
            counted(2, "day"),
        ];
        let expected = [
            "1 run",
            "2 threads",
            "0 classes",
            "3 batches",
            "1 class",
            "12 entries",
            "2 days",
        ];
        assert_eq!(texts, expected);
    }
}
