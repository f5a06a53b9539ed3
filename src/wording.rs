//! Counts with their noun, as English has them.

/// A number with its noun: `1 run`, `2 runs`, `0 classes`.
pub fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {}", plural(noun)),
    }
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
    use super::counted;

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
