//! The names of parameters: in the program, and in files for others.

use std::borrow::Cow;

/// What the parameters of the backbone are named with, before their published names.
pub const BACKBONE: &str = "backbone";

/// What the others are named with in files for others.
pub const OWN: &str = "dbloss";

/// The name of a parameter in a file for others: those of the backbone are the published ones of
/// torchvision, timm or OpenAI; those of neck and head, which no other program has, begin with
/// [`OWN`].
pub fn published(name: &str) -> Cow<'_, str> {
    match below(name, BACKBONE) {
        Some(published) => Cow::Borrowed(published),
        None => Cow::Owned(format!("{OWN}.{name}")),
    }
}

/// The name in the program of what a file for others calls `name`: [`published`] undone.
pub fn in_program(name: &str) -> Cow<'_, str> {
    match below(name, OWN) {
        Some(own) => Cow::Borrowed(own),
        None => Cow::Owned(format!("{BACKBONE}.{name}")),
    }
}

/// The rest of a name that begins with `first` and a dot.
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
