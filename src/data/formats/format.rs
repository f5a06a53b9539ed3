//! Describes a format: its settings, its command-line options and its reader.

use std::path::{Path, PathBuf};

use crate::data::account::Account;
use crate::data::class_index::{Reading, Rows};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture_name::leads_out;
use crate::error::{KeyPath, Result};
use crate::io;

/// What the command line and the documentation need to know about a format.
#[derive(Debug)]
pub struct Info {
    /// The options of `dbloss split` that select it.
    pub sources: &'static [FormatOption],
    /// The options that can be combined with it.
    pub options: &'static [FormatOption],
    /// True for users' own data, which is kept as it is unless a curve is requested; false for the
    /// formats of the published benchmarks and for the embedded set, which are made long-tailed.
    pub as_is: bool,
}

/// A command-line option that sets a key of a format.
#[derive(Debug, PartialEq, Eq)]
pub struct FormatOption {
    /// The name of the option, without dashes.
    pub flag: &'static str,
    /// The configuration key.
    pub key: &'static str,
    /// The value it takes.
    pub value: OptionValue,
    /// Help text of one line.
    pub help: &'static str,
}

/// The value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    /// None: the option is a flag.
    Nothing,
    /// A path; the string is its placeholder in the help.
    Path(&'static str),
    /// A text; the string is its placeholder in the help.
    Text(&'static str),
    /// An integer; the string is its placeholder in the help.
    Whole(&'static str),
    /// A number; the string is its placeholder in the help.
    Number(&'static str),
    /// One of several fixed values.
    Choice(&'static [&'static str]),
}

/// Creates an option.
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

/// The options shared by all formats with annotations in a file or folder.
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

/// The option for a class list.
pub(super) const CLASSES: FormatOption = option(
    "classes",
    "classes",
    OptionValue::Path("FILE"),
    "File with the classes in their order, one name per line [default: all that occur, sorted by name; COCO: by id]",
);

/// A function that receives a key and the path stored under it.
pub(super) type ChangePath<'a> = &'a mut dyn FnMut(&str, &mut PathBuf);

/// A format of annotations.
pub(super) trait Format {
    /// What the command line needs to know about it.
    const INFO: Info;

    /// Reads the annotations.
    fn load(&self) -> Result<Loaded>;

    /// Passes every path in the settings to `change`, with its key.
    fn each_path(&mut self, change: ChangePath);

    /// Rejects values out of range; `at` is the key of this table.
    fn check(&self, _at: &KeyPath) -> Result<()> {
        Ok(())
    }

    /// Returns true if the settings specify a test set.
    fn has_test(&self) -> bool;
}

/// The contents of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The pool that the training set is drawn from.
    pub pool: LabelTable,
    /// The test set, over the same classes.
    pub test: Option<LabelTable>,
    /// Root of the pool's pictures.
    pub train_root: ImageRoot,
    /// Root of the test pictures.
    pub test_root: ImageRoot,
    /// What was left out, merged or assumed.
    pub account: Account,
}

impl Loaded {
    /// Builds the tables from the rows that were read, with the pictures in two folders.
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

/// Defines the settings of a format with annotations in one file or folder for the pool and another
/// for the test set; more keys may follow.
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
            /// Returns the files, without the settings specific to the format.
            fn files(&self) -> crate::data::formats::format::Files<'_> {
                crate::data::formats::format::Files {
                    train: &self.train,
                    test: self.test.as_deref(),
                    root: self.root.as_deref(),
                    test_root: self.test_root.as_deref(),
                    classes: self.classes.as_deref(),
                }
            }

            /// Passes the path of every file to `change`, with its key.
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

/// The annotation files of a pool and a test set.
pub(super) struct Files<'a> {
    pub train: &'a Path,
    pub test: Option<&'a Path>,
    pub root: Option<&'a Path>,
    pub test_root: Option<&'a Path>,
    pub classes: Option<&'a Path>,
}

impl Files<'_> {
    /// Reads the pool and the test set with `read`; `folder_of` gives the root if none is
    /// specified.
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

/// Returns the folder that contains a file.
pub(super) fn beside(file: &Path) -> PathBuf {
    io::folder_of(file).to_path_buf()
}
