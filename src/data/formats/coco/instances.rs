//! The contents of an instances file, and the labels derived from them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::json::{Contents, Doubt, read};
use super::lenient::Id;
use crate::data::class_index::{Reading, Rows};
use crate::data::class_name;
use crate::error::{Error, Result};
use crate::wording::first_named;

/// Which objects give their image a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objects {
    /// Those that the published benchmarks count: crowds too, but none that is flagged `ignore`,
    /// has an area of 0 or less, or a side below 1.
    #[default]
    Usable,
    /// All.
    All,
}

/// The contents of a file, without the segmentations.
pub(crate) struct Instances {
    path: PathBuf,
    contents: Contents,
    /// Categories that were left out: no object uses them, and another has the same name.
    unused: Vec<String>,
}

impl Instances {
    /// Reads a file in one pass. Memory use depends on the number of images and objects, not on the
    /// size of their segmentations.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::parse(fs_err::File::open(path)?, path)
    }

    /// Like [`read`](Self::read), from any reader; `path` appears in errors.
    pub(crate) fn parse(reader: impl Read, path: &Path) -> Result<Self> {
        let mut instances = Instances {
            path: path.to_path_buf(),
            contents: read(reader, path)?,
            unused: Vec::new(),
        };
        if instances.contents.images.is_empty() {
            return Err(Error::file(path, "has no images"));
        }
        instances.check_categories()?;
        Ok(instances)
    }

    /// Sorts the categories by id, and leaves out those that no object uses if another has the same
    /// name.
    fn check_categories(&mut self) -> Result<()> {
        self.contents.categories.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in self.contents.categories.windows(2) {
            if pair[0].id == pair[1].id {
                let problem = format_args!("category id {} occurs twice", pair[0].id);
                return Err(Error::file(&self.path, problem));
            }
        }
        let mut by_name: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for category in &mut self.contents.categories {
            let name = class_name::clean(&category.name).map_err(|problem| {
                Error::file(
                    &self.path,
                    format_args!("category {}: {problem}", category.id),
                )
            })?;
            category.name = name.into_owned();
            by_name
                .entry(category.name.clone())
                .or_default()
                .push(category.id.clone());
        }
        by_name.retain(|_, ids| ids.len() > 1);
        if by_name.is_empty() {
            return Ok(());
        }
        let used: HashSet<&Id> = self
            .contents
            .objects
            .iter()
            .map(|object| &object.category)
            .collect();
        let mut unused: HashSet<Id> = HashSet::new();
        for (name, ids) in by_name {
            let (with, without): (Vec<_>, Vec<_>) =
                ids.into_iter().partition(|id| used.contains(id));
            if let [first, second, ..] = with.as_slice() {
                let problem =
                    format_args!("categories {first} and {second} are both named `{name}`");
                return Err(Error::file(&self.path, problem)
                    .hint("rename one, or give all their annotations one category id"));
            }
            // If no object uses any of them, one is kept.
            unused.extend(without.into_iter().skip(usize::from(with.is_empty())));
        }
        self.contents.categories.retain(|category| {
            let goes = unused.contains(&category.id);
            if goes {
                self.unused
                    .push(format!("{} (id {})", category.name, category.id));
            }
            !goes
        });
        Ok(())
    }

    /// Returns the class names by ascending category id.
    pub(crate) fn classes(&self) -> Vec<String> {
        self.contents
            .categories
            .iter()
            .map(|c| c.name.clone())
            .collect()
    }

    /// Returns the images in the order of the file, with the labels of their objects.
    pub(crate) fn into_rows(self, count: Objects, reading: &mut Reading) -> Result<Rows> {
        let path = &self.path;
        let row_of = self.rows_by_id()?;
        let name_of: HashMap<&Id, &str> = (self.contents.categories.iter())
            .map(|c| (&c.id, c.name.as_str()))
            .collect();
        let mut class_of: HashMap<&Id, u32> = HashMap::new();
        let mut labels: Vec<Vec<u32>> = vec![Vec::new(); self.contents.images.len()];
        let mut passed_over: Vec<(usize, Doubt)> = Vec::new();
        let mut strays = Vec::new();
        for (number, object) in (1..).zip(&self.contents.objects) {
            let Some(&row) = row_of.get(&object.image) else {
                strays.push(object.image.to_string());
                continue;
            };
            if let Some(doubt) = object.doubt.filter(|_| count == Objects::Usable) {
                passed_over.push((row, doubt));
                continue;
            }
            let class = match class_of.get(&object.category) {
                Some(&class) => class,
                None => {
                    let name = name_of.get(&object.category).ok_or_else(|| {
                        let problem = format_args!(
                            "annotation number {number} (of the image `{}`) has category {}, which is not in `categories`",
                            self.contents.images[row].1, object.category
                        );
                        Error::file(path, problem)
                    })?;
                    let class = reading.classes.number(name, path, None)?;
                    class_of.insert(&object.category, class);
                    class
                }
            };
            if !labels[row].contains(&class) {
                labels[row].push(class);
            }
        }
        if !strays.is_empty() {
            let count = strays.len();
            strays.dedup();
            let names = first_named(strays.iter().map(String::as_str));
            let problem = format_args!(
                "{count} annotations belong to images that are not in `images`: {names}"
            );
            return Err(Error::file(path, problem));
        }
        self.tell(&passed_over, &labels, reading);
        let names = self.contents.images.into_iter().map(|(_, name)| name);
        Ok(names.zip(labels).collect())
    }

    /// Returns the index of each image by its id; rejects ids and names that occur twice.
    fn rows_by_id(&self) -> Result<HashMap<&Id, usize>> {
        let mut row_of = HashMap::with_capacity(self.contents.images.len());
        let mut by_name: HashMap<&str, &Id> = HashMap::with_capacity(self.contents.images.len());
        for (row, (id, name)) in self.contents.images.iter().enumerate() {
            if row_of.insert(id, row).is_some() {
                return Err(Error::file(
                    &self.path,
                    format_args!("image id {id} occurs twice"),
                ));
            }
            if let Some(other) = by_name.insert(name, id) {
                let problem = format_args!("images {other} and {id} are both named `{name}`");
                return Err(Error::file(&self.path, problem));
            }
        }
        Ok(row_of)
    }

    /// Reports the objects that did not count and the unused categories.
    fn tell(&self, passed_over: &[(usize, Doubt)], labels: &[Vec<u32>], reading: &mut Reading) {
        let of = |doubt| passed_over.iter().filter(|(_, d)| *d == doubt).count();
        let what = format!(
            "of {} skipped (area 0 or less: {}, side below 1: {}, flagged `ignore`: {}), of the images",
            self.contents.objects.len(),
            of(Doubt::Area),
            of(Doubt::Side),
            of(Doubt::Ignored)
        );
        let mut rows: Vec<usize> = passed_over.iter().map(|(row, _)| *row).collect();
        let name = |row: &usize| self.contents.images[*row].1.as_str();
        let account = &mut reading.account;
        account.tell(&self.path, ("annotation", &what), rows.iter().map(name));
        rows.sort_unstable();
        rows.dedup();
        rows.retain(|&row| labels[row].is_empty());
        account.warn(
            &self.path,
            (
                "image",
                "without any label left, since all its objects are skipped",
            ),
            rows.iter().map(name),
            "to count such objects, pass `--coco-objects all`",
        );
        account.tell(
            &self.path,
            (
                "category",
                "without an object left out, since another one has the same name",
            ),
            self.unused.iter().map(String::as_str),
        );
    }
}
