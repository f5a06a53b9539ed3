//! Where a split's images and labels come from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::class_index::{ClassIndex, Rows, read_class_list};
use crate::data::coco::{self, Instances};
use crate::data::labels::LabelTable;
use crate::data::{folder, label_me, open_images, table, voc};
use crate::error::{Error, Result};

pub use crate::data::image::ImageRoot;
pub use crate::data::voc::Difficult;

/// Annotations of a pool to draw the training set from, and of a test set.
///
/// Paths are relative to the working directory, see [`Source::resolve`]. `classes` is a file with
/// one class name a line that fixes the classes and their order; without it they are all names
/// that occur, sorted (COCO: the file's categories by ascending id).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A PASCAL VOC devkit.
    Voc {
        /// The devkit: the folder with `VOC<year>` inside.
        root: PathBuf,
        /// Year of the pool.
        #[serde(default = "year_2012")]
        year: u32,
        /// List of the pool's images, `ImageSets/Main/<train>.txt`.
        #[serde(default = "trainval")]
        train: String,
        /// List of the test images; none leaves the test set out.
        #[serde(default)]
        test: Option<String>,
        /// Year of the test set, if another.
        #[serde(default)]
        test_year: Option<u32>,
        /// Devkit of the test set, if another.
        #[serde(default)]
        test_root: Option<PathBuf>,
        /// Whether objects flagged `difficult` count.
        #[serde(default)]
        difficult: Difficult,
        /// Class list file.
        #[serde(default)]
        classes: Option<PathBuf>,
    },
    /// Tables: CSV, TSV or JSON lines, by the file's ending.
    #[serde(alias = "csv", alias = "tsv", alias = "jsonl")]
    Table(Files),
    /// COCO or LVIS instances JSON. Without `root` the pictures are looked for in the usual
    /// places, `<set>` and `images/<set>` beside the annotations' folder.
    #[serde(alias = "lvis")]
    Coco(Files),
    /// Folders with one folder of pictures a class.
    Folder(Files),
    /// Open Images CSV, image-level labels or boxes.
    OpenImages {
        /// CSV of the pool.
        train: PathBuf,
        /// CSV of the test set.
        #[serde(default)]
        test: Option<PathBuf>,
        /// Folder that the image names are relative to; the CSV's own if left out.
        #[serde(default)]
        root: Option<PathBuf>,
        /// The same for the test set; `root` if left out.
        #[serde(default)]
        test_root: Option<PathBuf>,
        /// Class list file.
        #[serde(default)]
        classes: Option<PathBuf>,
        /// `class-descriptions.csv`, which names the label codes.
        #[serde(default)]
        descriptions: Option<PathBuf>,
        /// Labels with less confidence are absent.
        #[serde(default = "half")]
        min_confidence: f64,
    },
    /// Folders of LabelMe JSON files.
    Labelme(Files),
    /// The embedded set, drawn by the program itself.
    Shapes {
        /// Seed of the pictures.
        #[serde(default)]
        seed: u64,
        /// Pictures in the pool.
        #[serde(default = "shapes_pool")]
        pool_size: usize,
        /// Pictures in the test set.
        #[serde(default = "shapes_test")]
        test_size: usize,
        /// Side of the drawn pictures, in pixels.
        #[serde(default = "shapes_side")]
        side: u32,
    },
}

/// Annotations in a file or folder for the pool, and another for the test set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Annotations of the pool.
    pub train: PathBuf,
    /// Annotations of the test set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Folder that the image names are relative to; the annotations' own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// The same for the test set; `root` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_root: Option<PathBuf>,
    /// Class list file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<PathBuf>,
}

impl Files {
    /// Reads pool and test set with `read`; `folder_of` gives the root where none is named.
    fn load(
        &self,
        mut index: ClassIndex,
        folder_of: impl Fn(&Path) -> PathBuf,
        mut read: impl FnMut(&Path, &mut ClassIndex) -> Result<Rows>,
    ) -> Result<Loaded> {
        let pool = read(&self.train, &mut index)?;
        let test = (self.test.as_deref())
            .map(|path| read(path, &mut index))
            .transpose()?;
        let root = self.root.clone().unwrap_or_else(|| folder_of(&self.train));
        let test_root = (self.test_root.clone().or_else(|| self.root.clone()))
            .unwrap_or_else(|| self.test.as_deref().map_or(root.clone(), folder_of));
        Ok(loaded(&index, pool, test, root, test_root))
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.train].into_iter().chain(
            [
                &mut self.test,
                &mut self.root,
                &mut self.test_root,
                &mut self.classes,
            ]
            .into_iter()
            .flatten(),
        )
    }
}

/// The folder that a file lies in.
fn beside(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn half() -> f64 {
    0.5
}
fn year_2012() -> u32 {
    2012
}
fn trainval() -> String {
    "trainval".into()
}
fn shapes_pool() -> usize {
    4000
}
fn shapes_test() -> usize {
    1500
}
fn shapes_side() -> u32 {
    80
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
}

impl Source {
    /// Reads the annotations.
    pub fn load(&self) -> Result<Loaded> {
        match self {
            Source::Voc { .. } => self.load_voc(),
            Source::Table(files) => {
                files.load(class_index(&files.classes)?, beside, table::read_rows)
            }
            Source::Coco(files) => {
                let mut pool = Some(Instances::read(&files.train)?);
                let index = match &files.classes {
                    Some(_) => class_index(&files.classes)?,
                    None => ClassIndex::new(pool.as_ref().map(Instances::classes)),
                };
                files.load(index, coco::guess_images, |path, index| {
                    // The pool was read for its classes.
                    let instances = pool.take().map_or_else(|| Instances::read(path), Ok)?;
                    instances.into_rows(index)
                })
            }
            Source::Folder(files) => files.load(
                class_index(&files.classes)?,
                Path::to_path_buf,
                folder::read_rows,
            ),
            Source::Labelme(files) => files.load(
                class_index(&files.classes)?,
                Path::to_path_buf,
                label_me::read_rows,
            ),
            Source::OpenImages {
                train,
                test,
                root,
                test_root,
                classes,
                descriptions,
                min_confidence,
            } => {
                let files = Files {
                    train: train.clone(),
                    test: test.clone(),
                    root: root.clone(),
                    test_root: test_root.clone(),
                    classes: classes.clone(),
                };
                let names = (descriptions.as_deref())
                    .map(open_images::read_names)
                    .transpose()?
                    .unwrap_or_default();
                files.load(class_index(&files.classes)?, beside, |path, index| {
                    open_images::read_rows(path, &names, *min_confidence, index)
                })
            }
            Source::Shapes {
                seed,
                pool_size,
                test_size,
                side,
            } => Ok(load_shapes(*seed, *pool_size, *test_size, *side)),
        }
    }

    fn load_voc(&self) -> Result<Loaded> {
        let Source::Voc {
            root,
            year,
            train,
            test,
            test_year,
            test_root,
            difficult,
            classes,
        } = self
        else {
            return Err(Error::input("source.kind", "expected `voc`"));
        };
        let mut index = class_index(classes)?;
        let (base, folder) = voc::find_year(root, *year)?;
        let pool = voc::read_rows(&base, &folder, train, *difficult, &mut index)?;
        let (test_base, test_folder) = match test {
            Some(_) => voc::find_year(
                test_root.as_deref().unwrap_or(root),
                test_year.unwrap_or(*year),
            )?,
            None => (base.clone(), folder),
        };
        let test_rows = (test.as_deref())
            .map(|list| voc::read_rows(&test_base, &test_folder, list, *difficult, &mut index))
            .transpose()?;
        Ok(loaded(&index, pool, test_rows, base, test_base))
    }

    /// Makes relative paths relative to `folder`: that of the file which names them.
    pub fn resolve(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        let join_some = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&*path);
            }
        };
        match self {
            Source::Voc {
                root,
                test_root,
                classes,
                ..
            } => {
                join(root);
                join_some(test_root);
                join_some(classes);
            }
            Source::Table(files)
            | Source::Coco(files)
            | Source::Folder(files)
            | Source::Labelme(files) => files.paths().for_each(join),
            Source::OpenImages {
                train,
                test,
                root,
                test_root,
                classes,
                descriptions,
                ..
            } => {
                join(train);
                [test, root, test_root, classes, descriptions]
                    .into_iter()
                    .for_each(join_some);
            }
            Source::Shapes { .. } => {}
        }
    }
}

fn class_index(classes: &Option<PathBuf>) -> Result<ClassIndex> {
    let list = classes.as_deref().map(read_class_list).transpose()?;
    Ok(ClassIndex::new(list))
}

fn loaded(
    index: &ClassIndex,
    pool: Rows,
    test: Option<Rows>,
    train_root: PathBuf,
    test_root: PathBuf,
) -> Loaded {
    let has_test = test.is_some();
    let [pool, test] = index.tables([pool, test.unwrap_or_default()]);
    Loaded {
        pool,
        test: has_test.then_some(test),
        train_root: ImageRoot::Folder { path: train_root },
        test_root: ImageRoot::Folder { path: test_root },
    }
}

/// The embedded set's tables.
fn load_shapes(seed: u64, pool_size: usize, test_size: usize, side: u32) -> Loaded {
    let (pool, test) = crate::data::shapes::label_tables(seed, pool_size, test_size);
    let root = ImageRoot::Shapes { seed, size: side };
    Loaded {
        pool,
        test: Some(test),
        train_root: root.clone(),
        test_root: root,
    }
}
