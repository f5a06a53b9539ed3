//! The sources of a split's images and labels: the list of formats, one file each.
//!
//! A format is a struct of its settings that implements [`Format`], and a line in `formats!`. That
//! list determines the configuration's `kind` and the options of `dbloss split` with their help.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{KeyPath, Result};

pub mod coco;
pub mod folder;
mod format;
pub mod label_me;
pub mod open_images;
pub mod parquet;
pub mod shapes;
mod shards;
pub mod table;
pub mod voc;
pub mod web_dataset;

use format::Format;

pub use crate::data::image::ImageRoot;
pub use coco::{Coco, Objects};
pub use folder::Folder;
pub use format::{FormatOption, Info, Loaded, OptionValue};
pub use label_me::LabelMe;
pub use open_images::OpenImages;
pub use parquet::Parquet;
pub use shapes::Shapes;
pub use table::Table;
pub use voc::{Difficult, Voc};
pub use web_dataset::{LabelFile, WebDataset};

/// The formats: the variant, and aliases of its `kind`.
macro_rules! formats {
    ($($(#[doc = $doc:literal])* $(#[serde($($serde:tt)*)])* $format:ident,)*) => {
        /// Annotations of a pool to draw the training set from, and of a test set.
        ///
        /// Paths are relative to the file that names them, see [`Source::each_path`]. `classes` is a
        /// file with one class name a line that fixes the classes and their order; without it
        /// they are all names that occur, sorted (COCO: the file's categories by ascending id).
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
        pub enum Source {
            $($(#[doc = $doc])* $(#[serde($($serde)*)])* $format($format),)*
        }

        /// What the command line needs to know about every format, in the order of its help.
        pub const FORMATS: &[Info] = &[$(<$format as Format>::INFO),*];

        impl Source {
            /// Reads the annotations.
            ///
            /// # Errors
            /// Returns an error, with its location, if a file cannot be read or is not valid in the
            /// format.
            pub fn load(&self) -> Result<Loaded> {
                match self {
                    $(Source::$format(format) => format.load(),)*
                }
            }

            /// Passes every path to `change`, with its key in this table.
            pub fn each_path(&mut self, change: &mut dyn FnMut(&str, &mut PathBuf)) {
                match self {
                    $(Source::$format(format) => format.each_path(change),)*
                }
            }

            /// Rejects values out of range; `at` is the key of this table.
            pub fn check(&self, at: &KeyPath) -> Result<()> {
                match self {
                    $(Source::$format(format) => format.check(at),)*
                }
            }

            /// Returns true if a test set is specified.
            pub fn has_test(&self) -> bool {
                match self {
                    $(Source::$format(format) => format.has_test(),)*
                }
            }

            /// Returns what the command line needs to know about the format.
            pub fn info(&self) -> &'static Info {
                match self {
                    $(Source::$format(_) => {
                        const INFO: &Info = &<$format as Format>::INFO;
                        INFO
                    })*
                }
            }
        }
    };
}

formats! {
    /// A PASCAL VOC devkit.
    Voc,
    /// COCO or LVIS instances JSON.
    #[serde(alias = "lvis")]
    Coco,
    /// Tables: CSV, TSV or JSON lines, by the file's ending.
    #[serde(alias = "csv", alias = "tsv", alias = "jsonl")]
    Table,
    /// Folders with one folder of pictures a class.
    Folder,
    /// Open Images CSV, image-level labels or boxes.
    OpenImages,
    /// Folders of LabelMe JSON files.
    #[serde(rename = "labelme")]
    LabelMe,
    /// WebDataset shards: tar archives.
    #[serde(rename = "webdataset")]
    WebDataset,
    /// Parquet files with pictures in a column.
    Parquet,
    /// The embedded set, drawn by the program itself.
    Shapes,
}
