//! Reports what a table contains besides images and labels.

use std::path::Path;

use crate::data::class_index::Reading;

/// Names of columns that divide a table into sets.
const SETS: [&str; 7] = [
    "split",
    "set",
    "subset",
    "fold",
    "partition",
    "is_test",
    "is_train",
];

/// Reports columns, or JSON keys, other than image and labels; their contents are ignored.
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
