//! What a format is: its settings, its options on the command line, its reader.

use std::path::{Path, PathBuf};

use crate::data::account::Account;
use crate::data::class_index::{Reading, Rows};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture_name::leads_out;
use crate::error::{KeyPath, Result};
use crate::io;

/// What the command line and the documentation know of a format.
#[derive(Debug)]
pub struct Info {
    /// The options of `dbloss split` that choose it.
    pub sources: &'static [FormatOption],
    /// The options that it takes beside.
    pub options: &'static [FormatOption],
    /// True for people's own data, which is taken as it is unless a curve is asked for; false for
    /// the published benchmarks' formats and the embedded set, which are made long-tailed.
    pub as_is: bool,
}

/// An option of the command line that sets a key of a format.
#[derive(Debug, PartialEq, Eq)]
pub struct FormatOption {
    /// Its name, without the dashes.
    pub flag: &'static str,
    /// The key of the configuration.
    pub key: &'static str,
    /// What it takes.
    pub value: OptionValue,
    /// Help in a line.
    pub help: &'static str,
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    /// Nothing: it is given or not.
    Nothing,
    /// A path, by the name that the help shows for it.
    Path(&'static str),
    /// A text, by the name that the help shows for it.
    Text(&'static str),
    /// A whole number, by the name that the help shows for it.
    Whole(&'static str),
    /// A number, by the name that the help shows for it.
    Number(&'static str),
    /// One of several words.
    Choice(&'static [&'static str]),
}

/// An option in one line.
pub(super) const fn option(
    flag: &'static str,
    key: &'static str,
    value: OptionValue,
    help: &'static str,
) -> FormatOption {
    FormatOption {
        flag,
        key,
        value,
        help,
    }
}

/// The options of every format with annotations in a file or folder.
macro_rules! options_beside_files {
    ($($more:expr),* $(,)?) => {
        &[
            crate::data::formats::format::option("test", "test", crate::data::formats::format::OptionValue::Path("PATH"),
                "Annotations of the test set, of the same kind"),
            crate::data::formats::format::option("images", "root", crate::data::formats::format::OptionValue::Path("DIR"),
                "Folder that the image names are relative to [default: the annotations' folder]"),
            crate::data::formats::format::option("test-images", "test_root", crate::data::formats::format::OptionValue::Path("DIR"),
                "The same for the test set [default: that of --images]"),
            crate::data::formats::format::CLASSES,
            $($more,)*
        ]
    };
}
pub(super) use options_beside_files;

/// The option that names a class list.
pub(super) const CLASSES: FormatOption = option(
    "classes",
    "classes",
    OptionValue::Path("FILE"),
    "Classes and their order, one name a line [default: all that occur, sorted; COCO: by id]",
);

/// Is given a key and the path that it holds.
pub(super) type ChangePath<'a> = &'a mut dyn FnMut(&str, &mut PathBuf);

/// A way to write annotations.
pub(super) trait Format {
    /// What the command line knows of it.
    const INFO: Info;

    /// Reads the annotations.
    fn load(&self) -> Result<Loaded>;

    /// Gives every path in the settings to `change`, with its key.
    fn each_path(&mut self, change: ChangePath);

    /// Refuses values out of range; `at` is the table's own key.
    fn check(&self, _at: &KeyPath) -> Result<()> {
        Ok(())
    }

    /// True if the settings name a test set.
    fn has_test(&self) -> bool;
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The pool that the training set is drawn from.
    pub pool: LabelTable,
    /// The test set, over the same classes.
    pub test: Option<LabelTable>,
    /// Where the pool's pictures lie.
    pub train_root: ImageRoot,
    /// Where the test pictures lie.
    pub test_root: ImageRoot,
    /// What was left out, merged or assumed.
    pub account: Account,
}

impl Loaded {
    /// The tables of what was read, with the pictures in two folders.
    pub(super) fn new(
        mut reading: Reading,
        place: &Path,
        pool: Rows,
        test: Option<Rows>,
        roots: [PathBuf; 2],
    ) -> Self {
        reading
            .classes
            .tell_look_alikes(place, &mut reading.account);
        // Nothing is read from elsewhere without a word.
        let rows = pool.iter().chain(test.iter().flatten());
        let outside = rows.map(|(name, _)| name.as_str());
        let said = (
            "picture",
            "outside of the folder of the pictures, by its name",
        );
        (reading.account).tell(place, said, outside.filter(|name| leads_out(name)));
        let has_test = test.is_some();
        let [pool, test] = reading.classes.tables([pool, test.unwrap_or_default()]);
        let [train_root, test_root] = roots.map(|path| ImageRoot::Folder { path });
        Loaded {
            pool,
            test: has_test.then_some(test),
            train_root,
            test_root,
            account: reading.account,
        }
    }
}

/// Settings of a format with annotations in a file or folder for the pool, and another for the
/// test set; further keys may follow.
macro_rules! annotation_files {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Annotations of the pool.
            pub train: std::path::PathBuf,
            /// Annotations of the test set.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub test: Option<std::path::PathBuf>,
            /// Folder that the image names are relative to; without it where the format has them.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub root: Option<std::path::PathBuf>,
            /// The same for the test set; `root` if left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub test_root: Option<std::path::PathBuf>,
            /// Class list file.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub classes: Option<std::path::PathBuf>,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $name {
            /// The files, without the format's own settings.
            fn files(&self) -> crate::data::formats::format::Files<'_> {
                crate::data::formats::format::Files {
                    train: &self.train,
                    test: self.test.as_deref(),
                    root: self.root.as_deref(),
                    test_root: self.test_root.as_deref(),
                    classes: self.classes.as_deref(),
                }
            }

            /// Gives the path of every file to `change`, with its key.
            fn each_file(&mut self, change: crate::data::formats::format::ChangePath) {
                change("train", &mut self.train);
                for (key, path) in [
                    ("test", &mut self.test),
                    ("root", &mut self.root),
                    ("test_root", &mut self.test_root),
                    ("classes", &mut self.classes),
                ] {
                    if let Some(path) = path {
                        change(key, path);
                    }
                }
            }
        }
    };
}
pub(super) use annotation_files;

/// Annotations of a pool and of a test set.
pub(super) struct Files<'a> {
    pub train: &'a Path,
    pub test: Option<&'a Path>,
    pub root: Option<&'a Path>,
    pub test_root: Option<&'a Path>,
    pub classes: Option<&'a Path>,
}

impl Files<'_> {
    /// Reads pool and test set with `read`; `folder_of` gives the root where none is named.
    pub(super) fn load(
        &self,
        mut reading: Reading,
        folder_of: impl Fn(&Path) -> PathBuf,
        mut read: impl FnMut(&Path, &mut Reading) -> Result<Rows>,
    ) -> Result<Loaded> {
        let pool = read(self.train, &mut reading)?;
        let test = (self.test)
            .map(|path| read(path, &mut reading))
            .transpose()?;
        let root = self
            .root
            .map_or_else(|| folder_of(self.train), Path::to_path_buf);
        let test_root = (self.test_root.or(self.root).map(Path::to_path_buf))
            .unwrap_or_else(|| self.test.map_or_else(|| root.clone(), folder_of));
        Ok(Loaded::new(
            reading,
            self.train,
            pool,
            test,
            [root, test_root],
        ))
    }
}

/// The folder that a file lies in.
pub(super) fn beside(file: &Path) -> PathBuf {
    io::folder_of(file).to_path_buf()
}
