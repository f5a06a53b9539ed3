//! «Did you mean»: finds the accepted name that is closest to a mistyped one.

use strsim::osa_distance;

/// Returns the accepted name closest to `given`; `None` if none is similar. Differences in case,
/// hyphens, underscores and blanks are ignored; two transposed letters count as one mistake.
pub fn closest<'a>(given: &str, accepted: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(given);
    let mut best: Option<(usize, &str)> = None;
    for name in accepted {
        let plain_name = plain(name);
        let shorter = given.chars().count().min(plain_name.chars().count());
        let distance = osa_distance(&given, &plain_name);
        if distance <= (shorter / 3).max(1)
            && distance < shorter
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn closest_finds_a_typo_and_not_a_stranger() {
        let names = ["db-focal", "focal", "bce", "resnet50", "resnet101", "erm"];
        for (given, near) in [
            ("db-fokal", Some("db-focal")),
            ("DB_Focal", Some("db-focal")),
            ("resnet_50", Some("resnet50")),
            ("resnet110", Some("resnet101")),
            ("rem", Some("erm")),
            ("transformer", None),
            ("x", None),
        ] {
            assert_eq!(closest(given, names), near, "{given}");
        }
    }
}
