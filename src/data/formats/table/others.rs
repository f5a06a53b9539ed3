//! What a table says beside image and labels.

use std::path::Path;

use crate::data::class_index::Reading;

/// Names of columns that part a table into sets.
const SETS: [&str; 7] = [
    "split",
    "set",
    "subset",
    "fold",
    "partition",
    "is_test",
    "is_train",
];

/// Tells of columns, or keys of JSON, beside image and labels: what they say is not looked at.
pub(super) fn tell_of_others<'a>(
    names: impl IntoIterator<Item = &'a str>,
    path: &Path,
    reading: &mut Reading,
) {
    let is_set = |name: &&str| SETS.iter().any(|set| set.eq_ignore_ascii_case(name));
    let (sets, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(is_set);
    let said = "besides image and labels ignored";
    let account = &mut reading.account;
    account.tell(path, ("column", said), others);
    let remedy =
        "all rows form one set; to divide them, give one table per set (`--table`, `--test`)";
    account.warn(
        path,
        ("column", "that could name sets ignored"),
        sets,
        remedy,
    );
}
