//! Pictures sorted into one folder per class.

use std::collections::HashMap;
use std::path::Path;

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use crate::data::class_index::{Reading, Rows};
use crate::data::picture::{endings, has_picture_ending};
use crate::data::walk::{self, Entry, Walk};
use crate::error::{Error, Result};

annotation_files! {
    /// Folders with one folder of pictures a class.
    #[derive(Default)]
    pub struct Folder {}
}

impl Format for Folder {
    const INFO: Info = Info {
        sources: &[option(
            "folder",
            "train",
            OptionValue::Path("DIR"),
            "A folder with one folder of pictures per class",
        )],
        options: options_beside_files!(),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        files.load(Reading::new(files.classes)?, Path::to_path_buf, read_rows)
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// Folder names that denote a set rather than a class.
const SETS: [&str; 8] = [
    "train",
    "training",
    "test",
    "testing",
    "val",
    "valid",
    "validation",
    "dev",
];

/// Reads `<root>/<class>/**/<picture>`, sorted by name. The label of a picture is its class folder.
pub(crate) fn read_rows(root: &Path, reading: &mut Reading) -> Result<Rows> {
    let entries = walk::entries(root)?;
    refuse_sets(root, &entries)?;
    let mut rows = Rows::new();
    let (mut others, mut loose, mut deeper) = (Vec::new(), Vec::new(), Vec::new());
    let (mut of_class, mut merged) = (HashMap::new(), Vec::new());
    for (name, path, is_folder) in entries {
        if !is_folder {
            let list = if has_picture_ending(&name) {
                &mut loose
            } else {
                &mut others
            };
            list.push(name);
            continue;
        }
        let class = reading.classes.number(&name, &path, None)?;
        if let Some(first) = of_class.insert(class, name.clone()) {
            merged.push(format!("{first}` and `{name}"));
        }
        let before = rows.len();
        for file in Walk::new(&path, &name) {
            let file = file?;
            if !has_picture_ending(&file) {
                others.push(file);
                continue;
            }
            if file[name.len() + 1..].contains('/') {
                deeper.push(file.clone());
            }
            rows.push((file, vec![class]));
        }
        if rows.len() == before {
            reading.account.warn(
                root,
                ("class folder", "without a picture"),
                [name.as_str()],
                "",
            );
        }
    }
    let what = format!(
        "left out: not the ending of a picture that can be read ({})",
        picture_endings()
    );
    let account = &mut reading.account;
    account.warn(
        root,
        ("file", &what),
        others.iter().map(String::as_str),
        "convert them if they are pictures",
    );
    account.warn(
        root,
        ("pair", "of folders taken for one class"),
        merged.iter().map(String::as_str),
        "their names differ only in blanks or Unicode form",
    );
    account.warn(
        root,
        ("picture", "beside the class folders left out"),
        loose.iter().map(String::as_str),
        "",
    );
    account.tell(
        root,
        (
            "picture",
            "in a folder below its class folder, given that class",
        ),
        deeper.iter().map(String::as_str),
    );
    if rows.is_empty() {
        return Err(
            Error::file(root, "contains no pictures in class folders").hint(format_args!(
                "expected `<class>/<picture>` with the endings {}",
                picture_endings()
            )),
        );
    }
    Ok(rows)
}

fn picture_endings() -> String {
    endings().collect::<Vec<_>>().join(", ")
}

/// Rejects a folder of sets, whose `train` and `test` would otherwise become classes.
fn refuse_sets(root: &Path, entries: &[Entry]) -> Result<()> {
    let folders: Vec<_> = entries
        .iter()
        .filter(|(_, _, is_folder)| *is_folder)
        .collect();
    let is_set = |name: &str| SETS.iter().any(|set| set.eq_ignore_ascii_case(name));
    let sets = !folders.is_empty() && folders.iter().all(|(name, ..)| is_set(name));
    for (_, path, _) in folders.iter().filter(|_| sets) {
        if walk::entries(path)?
            .iter()
            .any(|(_, _, is_folder)| *is_folder)
        {
            let names: Vec<&str> = folders.iter().map(|(name, ..)| name.as_str()).collect();
            let problem = format_args!(
                "contains the sets `{}`, expected class folders",
                names.join("`, `")
            );
            return Err(Error::file(root, problem)
                .hint("name the set's own folder: `--folder DIR/train --test DIR/test`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    /// The images, and what was left out: the number of items and the first of them.
    type Read = (Vec<String>, Vec<(usize, String)>);

    fn read(files: &[&str]) -> Result<Read> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            write_text(&folder.path().join(file), "x").unwrap();
        }
        let mut reading = Reading::new(None)?;
        let rows = read_rows(folder.path(), &mut reading)?;
        let facts = reading
            .account
            .facts()
            .into_iter()
            .map(|fact| (fact.count, fact.first[0].clone()));
        Ok((
            rows.into_iter().map(|(name, _)| name).collect(),
            facts.collect(),
        ))
    }

    #[test]
    fn what_is_no_picture_is_counted_and_named() {
        let (images, left_out) = read(&[
            "cat/a.JPG",
            "cat/b.jfif",
            "cat/c.jpe",
            "cat/d.heic",
            "cat/e.svg",
            "cat/.DS_Store",
            "cat/Thumbs.db",
            "cat/young/f.png",
            "dog/a.jpg",
            "dog/readme.txt",
            "loose.jpg",
            "__MACOSX/cat/._a.jpg",
            "cow/notes.txt",
        ])
        .unwrap();
        assert_eq!(
            images,
            [
                "cat/a.JPG",
                "cat/b.jfif",
                "cat/c.jpe",
                "cat/young/f.png",
                "dog/a.jpg"
            ]
        );
        let expected = [
            (1, "cow"),
            (4, "cat/d.heic"),
            (1, "loose.jpg"),
            (1, "cat/young/f.png"),
        ];
        let expected = expected.map(|(count, name)| (count, name.to_owned()));
        assert_eq!(left_out, expected);
    }

    #[test]
    fn folders_that_become_one_class_are_told_of() {
        let (images, told) = read(&["cat/a.jpg", "cat /b.jpg", "caf\u{e9}/a.jpg"]).unwrap();
        assert_eq!(images.len(), 3);
        assert_eq!(told, [(1, "cat` and `cat ".to_owned())]);
        let (_, told) = read(&["caf\u{e9}/a.jpg", "cafe\u{301}/b.jpg", "dog/c.jpg"]).unwrap();
        assert_eq!(told, [(1, "cafe\u{301}` and `caf\u{e9}".to_owned())]);
    }

    #[test]
    fn a_folder_of_sets_is_not_a_folder_of_classes() {
        let error = read(&["train/cat/a.jpg", "test/cat/b.jpg"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("`test`, `train`"), "{error}");
        // Classes with these names are accepted.
        assert_eq!(read(&["train/a.jpg", "test/b.jpg"]).unwrap().0.len(), 2);
    }
}
