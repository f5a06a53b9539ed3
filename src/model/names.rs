//! The names of parameters, in the program and in exported files.

use std::borrow::Cow;

/// The prefix of the backbone's parameters in the program, followed by their published names.
pub const BACKBONE: &str = "backbone";

/// The prefix of all other parameters in exported files.
pub const OWN: &str = "dbloss";

/// Returns the name of a parameter in an exported file. Parameters of the backbone have the
/// published names of torchvision, timm or OpenAI; those of neck and head, which no other program
/// has, begin with [`OWN`].
pub fn published(name: &str) -> Cow<'_, str> {
    match below(name, BACKBONE) {
        Some(published) => Cow::Borrowed(published),
        None => Cow::Owned(format!("{OWN}.{name}")),
    }
}

/// Returns the name in the program of `name` in an exported file; the inverse of [`published`].
pub fn in_program(name: &str) -> Cow<'_, str> {
    match below(name, OWN) {
        Some(own) => Cow::Borrowed(own),
        None => Cow::Owned(format!("{BACKBONE}.{name}")),
    }
}

/// Returns the rest of a name that begins with `first` and a dot.
fn below<'a>(name: &'a str, first: &str) -> Option<&'a str> {
    name.strip_prefix(first)?.strip_prefix('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_others_are_published_ones_and_come_back() {
        for (own, other) in [
            ("backbone.layer1.0.conv1.weight", "layer1.0.conv1.weight"),
            ("backbone.head.weight", "head.weight"),
            ("head.weight", "dbloss.head.weight"),
            ("neck.bn.running_var", "dbloss.neck.bn.running_var"),
        ] {
            assert_eq!(published(own), other);
            assert_eq!(in_program(other), own);
        }
    }
}
