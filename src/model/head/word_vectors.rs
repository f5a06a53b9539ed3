//! Vectors of class names from a file of word vectors in GloVe's text format, with one word and its
//! numbers per line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::interface::misfit;
use crate::error::{Error, KeyPath, Result};

/// Returns, for each of `classes`, the mean of the vectors of its words, each of `dimensions`
/// numbers, one class after the other; `spelling` gives other words for some of them.
///
/// # Errors
/// If the file cannot be read or holds vectors of another length, if it has no word of some class,
/// or if `spelling` names something that is not a class.
pub(super) fn of_classes(
    path: &Path,
    classes: &[String],
    spelling: &BTreeMap<String, String>,
    dimensions: usize,
) -> Result<Vec<f32>> {
    if let Some(stranger) = spelling.keys().find(|name| !classes.contains(name)) {
        let at = KeyPath::from("model.head.spelling").child(stranger);
        let error = Error::key(at, "is no class of this split, expected the name of one");
        return Err(error.did_you_mean(stranger, classes.iter().map(String::as_str)));
    }
    let names = classes
        .iter()
        .map(|name| spelling.get(name).unwrap_or(name));
    let names: Vec<&str> = names.map(String::as_str).collect();
    let wanted = names.iter().flat_map(|name| {
        let words = words(name).flat_map(|word| [word.to_owned(), word.to_lowercase()]);
        words.chain([(*name).to_owned(), name.to_lowercase()])
    });
    let known = read(path, &wanted.collect(), dimensions)?;
    let find = |word: &str| known.get(word).or_else(|| known.get(&word.to_lowercase()));

    let (mut values, mut without) = (Vec::new(), Vec::new());
    for (class, name) in classes.iter().zip(names) {
        let mut found: Vec<&Vec<f32>> = find(name).into_iter().collect();
        if found.is_empty() {
            found = words(name).filter_map(find).collect();
            let missing: Vec<&str> = words(name).filter(|word| find(word).is_none()).collect();
            if !found.is_empty() && !missing.is_empty() {
                tracing::warn!(
                    "{}: has no vector for `{}` of the class `{class}`, whose vector is the mean of \
                     the others",
                    path.display(),
                    missing.join("`, `")
                );
            }
        }
        if found.is_empty() {
            without.push(class.as_str());
        }
        let sum = |i: usize| found.iter().map(|vector| f64::from(vector[i])).sum::<f64>();
        values.extend((0..dimensions).map(|i| (sum(i) / found.len().max(1) as f64) as f32));
    }
    match without.is_empty() {
        true => Ok(values),
        false => {
            let problem = format!("has no vector for the class `{}`", without.join("`, `"));
            Err(misfit("words", path, problem).hint(
                "say other words for it: `model.head.spelling = { tvmonitor = \"tv monitor\" }`, \
                 or add a line with its name to the file",
            ))
        }
    }
}

/// Splits a name into words.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
}

/// Reads the vectors of the `wanted` words in the file; the first one wins if a word occurs twice.
fn read(
    path: &Path,
    wanted: &BTreeSet<String>,
    dimensions: usize,
) -> Result<HashMap<String, Vec<f32>>> {
    let mut reader = BufReader::new(fs_err::File::open(path)?);
    let (mut known, mut raw) = (HashMap::new(), Vec::new());
    for number in 1.. {
        raw.clear();
        if reader.read_until(b'\n', &mut raw)? == 0 {
            break;
        }
        // Published files contain words in invalid UTF-8, but none of those is ever looked up.
        let line = String::from_utf8_lossy(&raw);
        let line = line.trim_end();
        let Some((word, numbers)) = line.split_once(' ') else {
            continue;
        };
        let is_first = number == 1;
        // The first line in word2vec's format: the number of words and the number of dimensions.
        if is_first && numbers.parse::<u64>().is_ok() && word.parse::<u64>().is_ok() {
            continue;
        }
        if !(is_first || wanted.contains(word)) || known.contains_key(word) {
            continue;
        }
        let values: Result<Vec<f32>, _> =
            numbers.split_ascii_whitespace().map(str::parse).collect();
        let values = values.map_err(|_| {
            let problem = format!("`{word}` is followed by something other than numbers");
            Error::line(path, number, problem)
        })?;
        if values.len() != dimensions {
            let problem = format!(
                "`{word}` has {} numbers, but `model.head.dimensions` is {dimensions}",
                values.len()
            );
            return Err(Error::line(path, number, problem)
                .hint("set `model.head.dimensions` to the number in the file"));
        }
        if wanted.contains(word) {
            known.insert(word.to_owned(), values);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, classes: &[&str], spelling: &[(&str, &str)]) -> Result<Vec<f32>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.txt");
        fs_err::write(&path, text).unwrap();
        let owned = |text: &&str| (*text).to_owned();
        let classes: Vec<String> = classes.iter().map(owned).collect();
        let spelling = spelling.iter().map(|(a, b)| (owned(a), owned(b))).collect();
        of_classes(&path, &classes, &spelling, 2)
    }

    const TEXT: &str = "the 9 9\ncat 1 2\ntv 3 4\nmonitor 5 8\nhot_dog -1 -2\ndog 7 7\ncat 8 8\n";

    #[test]
    fn a_class_is_the_mean_of_its_words() {
        let found = of(
            TEXT,
            &["Cat", "tv_monitor", "hot_dog", "tvmonitor"],
            &[("tvmonitor", "tv monitor")],
        );
        assert_eq!(found.unwrap(), [1., 2., 4., 6., -1., -2., 4., 6.]);
        // One of two words is missing; the first line is as in word2vec.
        let found = of(&format!("7 2\n{TEXT}"), &["potted dog"], &[]);
        assert_eq!(found.unwrap(), [7., 7.]);
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_told_by_name() {
        for (text, classes, spelling, expected) in [
            (
                TEXT,
                ["cat", "sofa"],
                None,
                "no vector for the class `sofa`",
            ),
            (TEXT, ["cat", "dog"], Some(("dogs", "dog")), "is no class"),
            ("a 1 2 3\n", ["cat", "a"], None, "has 3 numbers"),
            ("a 1 2\ncat 1 x\n", ["cat", "a"], None, ":2: `cat`"),
        ] {
            let error = of(text, &classes, spelling.as_slice()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(
                error.remedy().is_some() || expected.starts_with(':'),
                "{error}"
            );
        }
    }
}
