//! COCO and LVIS instances JSON.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use crate::data::account::first_named;
use crate::data::class_index::{Reading, Rows};
use crate::data::class_name;
use crate::data::picture_name;
use crate::data::text::{self, json_error};
use crate::error::{Error, Result};

mod lenient;

use lenient::{Bounds, Flag, Id, Number};

annotation_files! {
    /// COCO or LVIS instances JSON. Without `root` the pictures are looked for in the usual
    /// places, `<set>` and `images/<set>` beside the annotations' folder.
    #[derive(Default)]
    pub struct Coco {
        /// Which objects give their image a label.
        #[serde(default, skip_serializing_if = "is_default")]
        pub objects: Objects,
    }
}

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

fn is_default(objects: &Objects) -> bool {
    *objects == Objects::default()
}

impl Format for Coco {
    const INFO: Info = Info {
        sources: &[
            option(
                "coco",
                "train",
                OptionValue::Path("FILE"),
                "COCO instances JSON",
            ),
            option("lvis", "train", OptionValue::Path("FILE"), "LVIS JSON"),
        ],
        options: options_beside_files!(option(
            "coco-objects",
            "objects",
            OptionValue::Choice(&["usable", "all"]),
            "COCO, LVIS: count objects as the benchmarks do, or also those flagged `ignore`, of area 0 and of sides below 1 [default: usable]",
        )),
        as_is: false,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        let mut pool = Some(Instances::read(files.train)?);
        let reading = match files.classes {
            Some(list) => Reading::new(Some(list))?,
            None => Reading::over(pool.as_ref().map(Instances::classes)),
        };
        files.load(reading, guess_images, |path, reading| {
            // The pool was read for its classes.
            let instances = pool.take().map_or_else(|| Instances::read(path), Ok)?;
            instances.into_rows(self.objects, reading)
        })
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }

    #[cfg(test)]
    fn samples() -> Vec<super::format::Sample> {
        vec![super::format::Sample {
            name: "coco",
            bytes: b"{\"info\": {\"a\": [1]}, \"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 2, \"coco_url\": \"x/y/b.jpg\"}], \"annotations\": [{\"image_id\": 1, \"category_id\": 3, \"area\": 2.5, \"bbox\": [0, 0, 2, 2], \"segmentation\": [[1, 2, 3]], \"ignore\": 0}], \"categories\": [{\"id\": 3, \"name\": \"cat\"}]}",
            read: |bytes, path, reading| {
                Instances::parse(bytes, path)?.into_rows(Objects::Usable, reading)
            },
        }]
    }
}

/// An entry of `images`. LVIS has no `file_name`; its `coco_url` ends with folder and file.
#[derive(Deserialize)]
#[serde(expecting = "an image with `id` and `file_name`")]
struct Image {
    id: Id,
    file_name: Option<String>,
    coco_url: Option<String>,
}

impl Image {
    fn name(self) -> Result<(Id, String), String> {
        let from_url = |url: String| {
            let mut parts = url.rsplit('/');
            let (file, folder) = (parts.next()?, parts.next()?);
            Some(format!("{folder}/{file}"))
        };
        let name = (self.file_name.filter(|name| !name.trim().is_empty()))
            .or_else(|| self.coco_url.and_then(from_url))
            .ok_or_else(|| format!("image {} has neither `file_name` nor `coco_url`", self.id))?;
        Ok((self.id, picture_name::clean(&name)?.into_owned()))
    }
}

/// An entry of `annotations`; the outlines are passed over.
#[derive(Deserialize)]
#[serde(expecting = "an annotation with `image_id` and `category_id`")]
struct Annotation {
    image_id: Id,
    category_id: Id,
    #[serde(default)]
    ignore: Flag,
    #[serde(default)]
    area: Number,
    #[serde(default)]
    bbox: Bounds,
}

/// Why the benchmarks do not count an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Ignored,
    Area,
    Side,
}

impl Annotation {
    /// Crowds count, and what has neither box nor area.
    fn doubt(&self) -> Option<Doubt> {
        if self.ignore.0 {
            Some(Doubt::Ignored)
        } else if self.area.0.is_some_and(|area| area <= 0.0) {
            Some(Doubt::Area)
        } else if self.bbox.0.is_some_and(|[_, _, w, h]| w < 1.0 || h < 1.0) {
            Some(Doubt::Side)
        } else {
            None
        }
    }
}

/// An entry of `categories`.
#[derive(Deserialize)]
#[serde(expecting = "a category with `id` and `name`")]
struct Category {
    id: Id,
    name: String,
}

/// An annotation: image and category id, and why it may not count.
struct Object {
    image: Id,
    category: Id,
    doubt: Option<Doubt>,
}

/// A file's contents, without the outlines.
pub(crate) struct Instances {
    path: PathBuf,
    images: Vec<(Id, String)>,
    objects: Vec<Object>,
    categories: Vec<Category>,
    /// Categories left out: of the name of another, and of no object.
    unused: Vec<String>,
}

impl Instances {
    /// Reads a file in one pass; the memory taken grows with the number of images and objects,
    /// not with their outlines.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(fs_err::File::open(path)?, path)
    }

    /// [`read`](Self::read) from any reader; `path` is named in errors.
    pub fn parse(reader: impl Read, path: &Path) -> Result<Self> {
        let mut instances = Instances {
            path: path.to_path_buf(),
            images: Vec::new(),
            objects: Vec::new(),
            categories: Vec::new(),
            unused: Vec::new(),
        };
        let opened = text::open(reader, path)?;
        if opened.head.trim().is_empty() {
            return Err(Error::file(path, "the file is empty"));
        }
        // The parser asks byte by byte: a call through the box for each would take most of the time.
        let buffered = BufReader::with_capacity(BUFFER, opened.all);
        let mut json = serde_json::Deserializer::from_reader(buffered);
        let found = (File(&mut instances).deserialize(&mut json))
            .and_then(|found| json.end().map(|()| found))
            .map_err(|e| json_error(path, &e, &[]))?;
        for (found, key) in found.into_iter().zip(KEYS) {
            if !found {
                return Err(Error::file(path, format_args!("has no `{key}`"))
                    .hint("expected instances JSON as COCO and LVIS have it"));
            }
        }
        if instances.images.is_empty() {
            return Err(Error::file(path, "has no images"));
        }
        instances.check_categories()?;
        Ok(instances)
    }

    /// Sorts the categories by id, and leaves out those of no object whose name another bears.
    fn check_categories(&mut self) -> Result<()> {
        self.categories.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in self.categories.windows(2) {
            if pair[0].id == pair[1].id {
                let problem = format_args!("category id {} occurs twice", pair[0].id);
                return Err(Error::file(&self.path, problem));
            }
        }
        let mut by_name: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for category in &mut self.categories {
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
        let used: HashSet<&Id> = self.objects.iter().map(|object| &object.category).collect();
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
            // One stays where no object has any of them.
            unused.extend(without.into_iter().skip(usize::from(with.is_empty())));
        }
        self.categories.retain(|category| {
            let goes = unused.contains(&category.id);
            if goes {
                self.unused
                    .push(format!("{} (id {})", category.name, category.id));
            }
            !goes
        });
        Ok(())
    }

    /// The class names by ascending category id.
    pub fn classes(&self) -> Vec<String> {
        self.categories.iter().map(|c| c.name.clone()).collect()
    }

    /// The images in the file's order, with the labels of their objects.
    pub fn into_rows(self, count: Objects, reading: &mut Reading) -> Result<Rows> {
        let path = &self.path;
        let row_of = self.rows_by_id()?;
        let name_of: HashMap<&Id, &str> = (self.categories.iter())
            .map(|c| (&c.id, c.name.as_str()))
            .collect();
        let mut class_of: HashMap<&Id, u32> = HashMap::new();
        let mut labels: Vec<Vec<u32>> = vec![Vec::new(); self.images.len()];
        let mut passed_over: Vec<(usize, Doubt)> = Vec::new();
        let mut strays = Vec::new();
        for (number, object) in (1..).zip(&self.objects) {
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
                            self.images[row].1, object.category
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
        let names = self.images.into_iter().map(|(_, name)| name);
        Ok(names.zip(labels).collect())
    }

    /// The place of each image by its id; refuses ids and names that occur twice.
    fn rows_by_id(&self) -> Result<HashMap<&Id, usize>> {
        let mut row_of = HashMap::with_capacity(self.images.len());
        let mut by_name: HashMap<&str, &Id> = HashMap::with_capacity(self.images.len());
        for (row, (id, name)) in self.images.iter().enumerate() {
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

    /// Gives the account of the objects that did not count, and of unused categories.
    fn tell(&self, passed_over: &[(usize, Doubt)], labels: &[Vec<u32>], reading: &mut Reading) {
        let of = |doubt| passed_over.iter().filter(|(_, d)| *d == doubt).count();
        let what = format!(
            "of {} passed over (area 0 or less: {}, side below 1: {}, flagged `ignore`: {}), of the images",
            self.objects.len(),
            of(Doubt::Area),
            of(Doubt::Side),
            of(Doubt::Ignored)
        );
        let mut rows: Vec<usize> = passed_over.iter().map(|(row, _)| *row).collect();
        let name = |row: &usize| self.images[*row].1.as_str();
        let account = &mut reading.account;
        account.tell(&self.path, ("annotation", &what), rows.iter().map(name));
        rows.sort_unstable();
        rows.dedup();
        rows.retain(|&row| labels[row].is_empty());
        account.warn(
            &self.path,
            (
                "image",
                "without a label left, since all its objects are passed over",
            ),
            rows.iter().map(name),
            "`--coco-objects all` counts such objects",
        );
        account.tell(
            &self.path,
            (
                "category",
                "without an object left out, since another has the name",
            ),
            self.unused.iter().map(String::as_str),
        );
    }
}

/// Bytes of the file that are read at once.
const BUFFER: usize = 1 << 20;

/// The arrays that a file must have.
const KEYS: [&str; 3] = ["images", "annotations", "categories"];

/// Takes the top-level object apart, entry by entry.
struct File<'a>(&'a mut Instances);

impl<'de> DeserializeSeed<'de> for File<'_> {
    type Value = [bool; 3];

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<[bool; 3], D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for File<'_> {
    type Value = [bool; 3];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `images`, `annotations` and `categories`")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<[bool; 3], M::Error> {
        let Instances {
            images,
            objects,
            categories,
            ..
        } = self.0;
        let mut found = [false; 3];
        while let Some(key) = map.next_key::<String>()? {
            if let Some(at) = KEYS.iter().position(|known| *known == key)
                && std::mem::replace(&mut found[at], true)
            {
                return Err(de::Error::custom(format_args!("`{key}` occurs twice")));
            }
            match key.as_str() {
                "images" => map.next_value_seed(entries(|image: Image| {
                    images.push(image.name()?);
                    Ok(())
                }))?,
                "annotations" => map.next_value_seed(entries(|annotation: Annotation| {
                    objects.push(Object {
                        doubt: annotation.doubt(),
                        image: annotation.image_id,
                        category: annotation.category_id,
                    });
                    Ok(())
                }))?,
                "categories" => map.next_value_seed(entries(|category: Category| {
                    categories.push(category);
                    Ok(())
                }))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Gives the entries of an array one after the other to a function.
struct Entries<T, F: FnMut(T) -> Result<(), String>> {
    take: F,
    entry: PhantomData<T>,
}

fn entries<T, F: FnMut(T) -> Result<(), String>>(take: F) -> Entries<T, F> {
    Entries {
        take,
        entry: PhantomData,
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de>
    for Entries<T, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Entries<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut sequence: S) -> Result<(), S::Error> {
        while let Some(entry) = sequence.next_element()? {
            (self.take)(entry).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

/// Where the pictures of an annotation file usually lie: `<set>` or `images/<set>` beside the
/// folder of `instances_<set>.json`; else that file's own folder.
pub fn guess_images(annotations: &Path) -> PathBuf {
    let folder = match annotations.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let stem = annotations.file_stem().and_then(|s| s.to_str());
    let set = stem.and_then(|s| s.strip_prefix("instances_"));
    let beside = match folder.file_name() {
        Some(name) if name == "annotations" => {
            folder.parent().map(|p| match p.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => p.to_path_buf(),
            })
        }
        _ => Some(folder.clone()),
    };
    if let (Some(set), Some(beside)) = (set, &beside) {
        for candidate in [beside.join(set), beside.join("images").join(set)] {
            if candidate.is_dir() {
                return candidate;
            }
        }
    }
    // LVIS names pictures with their folder.
    match (stem, beside) {
        (Some(stem), Some(beside)) if stem.starts_with("lvis") => beside,
        _ => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
      "info": {"note": "a \"quoted\" [bracket]", "n": [1, [2]]}, "licenses": [],
      "annotations": [
        {"id": 1, "image_id": 7, "category_id": 44, "iscrowd": 1, "area": 9.5, "bbox": [0, 0, 3, 3],
         "segmentation": {"counts": [1, 2], "size": [4, 4]}},
        {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 0, "area": 0, "bbox": [0, 0, 3, 3]},
        {"id": 3, "image_id": 7, "category_id": 3, "area": 4, "bbox": [0, 0, 0.5, 8]},
        {"id": 4, "image_id": 7, "category_id": 3, "area": 4, "bbox": [0, 0, 8, 0.9]},
        {"id": 5, "image_id": 7, "category_id": 3, "area": 4, "ignore": 1, "bbox": [0, 0, 8, 8]},
        {"id": 6, "image_id": 5, "category_id": 3, "area": 4, "ignore": false, "bbox": [0, 0, 1, 1]},
        {"id": 7, "image_id": 5, "category_id": 3, "area": 4, "segmentation": [[1.5, 2e0]]},
        {"id": 8, "image_id": 5, "category_id": 44, "area": 4}
      ],
      "images": [
        {"id": 7, "file_name": "seven.jpg"},
        {"id": 9, "coco_url": "http://images.cocodataset.org/val2017/000000000009.jpg"},
        {"id": 5, "file_name": "five.jpg", "coco_url": "x/y"}
      ],
      "categories": [{"id": 44, "name": "zebra"}, {"id": 3, "name": "car"}, {"id": 60, "name": "a"}]
    }"#;

    fn read(text: &str) -> Result<(Vec<String>, Rows)> {
        let (classes, rows, _) = read_all(text, Objects::Usable)?;
        Ok((classes, rows))
    }

    fn read_all(text: &str, objects: Objects) -> Result<(Vec<String>, Rows, Reading)> {
        let instances = Instances::parse(text.as_bytes(), Path::new("a.json"))?;
        let classes = instances.classes();
        let mut reading = Reading::over(Some(classes.clone()));
        let rows = instances.into_rows(objects, &mut reading)?;
        Ok((classes, rows, reading))
    }

    /// Crowds count; ignored, empty and thin objects do not; classes go by id; an image without
    /// labels stays; LVIS names come from the address.
    #[test]
    fn labels_follow_the_rules_of_the_benchmark() {
        let (classes, rows) = read(FILE).unwrap();
        assert_eq!(classes, ["car", "zebra", "a"]);
        let rows: Vec<_> = rows
            .iter()
            .map(|(n, l)| (n.as_str(), l.as_slice()))
            .collect();
        assert_eq!(
            rows,
            [
                ("seven.jpg", &[1][..]),
                ("val2017/000000000009.jpg", &[]),
                ("five.jpg", &[0, 1]),
            ]
        );
    }

    #[test]
    fn marks_and_utf16_are_read() {
        let whole = read(FILE).unwrap();
        assert_eq!(read(&format!("\u{feff}{FILE}\n")).unwrap(), whole);
        let bytes: Vec<u8> = FILE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let instances = Instances::parse(bytes.as_slice(), Path::new("a.json")).unwrap();
        assert_eq!(instances.classes(), whole.0);
    }

    /// What tools write in place of whole numbers and four sides; `c.jpg` has both labels.
    #[test]
    fn ids_are_only_keys_and_boxes_may_be_missing() {
        let file = |image: &str, category: &str, more: &str| {
            format!(
                r#"{{"images": [{{"id": {image}, "file_name": ".\\d\\c.jpg"}}],
                "annotations": [{{"image_id": {image}, "category_id": {category}, {more}}}],
                "categories": [{{"id": {category}, "name": "cat "}}]}}"#
            )
        };
        for (image, category, more) in [
            (r#""img_1""#, "1", r#""area": 4"#),
            ("1.0", r#""c-1""#, r#""bbox": []"#),
            ("1", "1", r#""bbox": null, "area": null, "iscrowd": 1"#),
            ("1", "1", r#""bbox": ["2", "2", "9.5", "9"], "area": "85""#),
            (
                "1",
                "1",
                r#""segmentation": [[1, 2, 3, 4]], "ignore": false"#,
            ),
            ("9007199254740993", "1", r#""bbox": {"x": 1}"#),
        ] {
            let (classes, rows) = read(&file(image, category, more)).unwrap();
            assert_eq!(classes, ["cat"]);
            assert_eq!(rows, [("d/c.jpg".to_owned(), vec![0])], "{more}");
        }
        // 1 and "1" are one id, "01" is another.
        let text = file("1", "1", r#""area": 4"#);
        assert!(read(&text.replacen(r#""image_id": 1"#, r#""image_id": "1""#, 1)).is_ok());
        assert!(read(&text.replacen(r#""image_id": 1"#, r#""image_id": "01""#, 1)).is_err());
        let error = read(&file("1", "1", r#""area": NaN"#))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("a.json:2: malformed JSON at column") && error.contains("NaN"),
            "{error}"
        );
    }

    #[test]
    fn what_does_not_count_is_told_and_can_be_counted() {
        let (_, rows, reading) = read_all(FILE, Objects::Usable).unwrap();
        let facts = reading.account.facts();
        assert_eq!(facts.len(), 1);
        assert_eq!(
            (facts[0].count, facts[0].first[0].as_str()),
            (4, "seven.jpg")
        );
        assert!(
            facts[0].what.contains("4 annotations of 8 passed over"),
            "{}",
            facts[0].what
        );
        assert!(
            facts[0]
                .what
                .contains("area 0 or less: 1, side below 1: 2, flagged `ignore`: 1")
        );
        assert_eq!(rows[0].1, [1]);
        let (_, rows, reading) = read_all(FILE, Objects::All).unwrap();
        assert_eq!(rows[0].1, [1, 0]);
        assert!(reading.account.facts().is_empty());
        // An image without any label left is named by itself.
        let text = FILE.replacen(r#""area": 9.5"#, r#""area": 0"#, 1);
        let facts = read_all(&text, Objects::Usable).unwrap().2.account.facts();
        assert_eq!(
            (facts[1].count, facts[1].first[0].as_str()),
            (1, "seven.jpg")
        );
    }

    #[test]
    fn an_unused_category_may_bear_the_name_of_another() {
        let with = |more: &str| {
            FILE.replacen(
                r#"{"id": 3, "name": "car"}"#,
                &format!(r#"{{"id": 3, "name": "car"}}, {more}"#),
                1,
            )
        };
        let (classes, _, reading) =
            read_all(&with(r#"{"id": 0, "name": " car"}"#), Objects::Usable).unwrap();
        assert_eq!(classes, ["car", "zebra", "a"]);
        assert_eq!(reading.account.facts()[1].first, ["car (id 0)"]);
        let error = read(&with(r#"{"id": 0, "name": "zebra"}"#).replacen(
            r#""category_id": 3"#,
            r#""category_id": 0"#,
            1,
        ));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("categories 0 and 44") && error.contains("`zebra`"),
            "{error}"
        );
    }

    /// Errors name the file and where in it.
    #[test]
    fn mistakes_are_located() {
        let error = |from: &str, to: &str| {
            let text = FILE.replacen(from, to, 1);
            read(&text).unwrap_err().to_string()
        };
        let text = error(
            r#""category_id": 44, "iscrowd""#,
            r#""category_id": 45, "iscrowd""#,
        );
        assert!(
            text.contains("number 1 (of the image `seven.jpg`)") && text.contains("category 45"),
            "{text}"
        );
        let text = error(r#""file_name": "seven.jpg""#, r#""name": "seven.jpg""#);
        assert!(
            text.contains("image 7") && text.contains("file_name"),
            "{text}"
        );
        let text = error(r#""image_id": 7"#, r#""image_id": 8"#);
        assert!(
            text.contains("1 annotations") && text.contains("`8`"),
            "{text}"
        );
        let text = error(r#""id": 9"#, r#""id": 7"#);
        assert!(text.contains("image id 7 occurs twice"), "{text}");
        let text = error(r#""id": 60"#, r#""id": 3"#);
        assert!(text.contains("category id 3 occurs twice"), "{text}");
        let text = error("[1.5, 2e0]", "[1.5, , 0]");
        assert!(
            text.starts_with("a.json:11: malformed JSON at column"),
            "{text}"
        );
        let text = error(r#""image_id": 5"#, r#""image_id": "five""#);
        assert!(
            text.contains("1 annotations") && text.contains("`five`"),
            "{text}"
        );
        let text = error(r#""image_id": 5"#, r#""image_id": null"#);
        assert!(
            text.starts_with("a.json:10: at column") && text.contains("an id"),
            "{text}"
        );
        let text = error("\"images\"", "\"pictures\"");
        assert!(text.contains("has no `images`"), "{text}");
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for end in 0..FILE.trim_end().len() {
            assert!(read(&FILE[..end]).is_err(), "{end}");
        }
        assert!(read(&format!("{FILE} x")).is_err());
        assert!(read("[]").is_err());
        assert!(read("{}").is_err());
    }
}
