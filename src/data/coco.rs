//! COCO and LVIS instances JSON.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::json_elements::Elements;
use crate::data::split::first_named;
use crate::error::{Error, Result};

/// An entry of `images`. LVIS has no `file_name`; its `coco_url` ends with folder and file.
#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: Option<String>,
    coco_url: Option<String>,
}

/// An entry of `annotations`; the outlines are passed over.
#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    category_id: i64,
    #[serde(default)]
    ignore: Option<Flag>,
    area: Option<f64>,
    bbox: Option<[f64; 4]>,
}

/// 0 and 1 as well as false and true.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Truth(bool),
    Number(f64),
}

impl Annotation {
    /// Whether the object gives its image a label. Crowds do; objects flagged `ignore`, with an
    /// area of 0 or less, or with a side below 1 do not.
    fn counts(&self) -> bool {
        let ignored = match self.ignore {
            Some(Flag::Truth(ignored)) => ignored,
            Some(Flag::Number(number)) => number != 0.0,
            None => false,
        };
        let small = self.bbox.is_some_and(|[_, _, w, h]| w < 1.0 || h < 1.0);
        !ignored && !small && self.area.is_none_or(|area| area > 0.0)
    }
}

/// An entry of `categories`.
#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

/// An object that counts: image and category id, and its offset in the file.
struct Object {
    image: i64,
    category: i64,
    offset: u64,
}

/// A file's contents, without the outlines.
pub(crate) struct Instances {
    path: PathBuf,
    images: Vec<(i64, String)>,
    objects: Vec<Object>,
    categories: Vec<Category>,
}

impl Instances {
    /// Reads a file in one pass; the memory taken grows with the number of images and objects,
    /// not with their outlines.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs_err::File::open(path)?;
        Self::parse(File::from(file), path)
    }

    /// [`read`](Self::read) from any reader; `path` is named in errors.
    pub fn parse(reader: impl std::io::Read, path: &Path) -> Result<Self> {
        Self::from_elements(Elements::new(reader, path), path)
    }

    /// The same, reading few bytes at once.
    #[cfg(test)]
    pub fn parse_pieces(reader: impl std::io::Read, path: &Path, piece: usize) -> Result<Self> {
        Self::from_elements(Elements::with_piece(reader, path, piece), path)
    }

    fn from_elements(mut json: Elements<impl std::io::Read>, path: &Path) -> Result<Self> {
        let mut instances = Instances {
            path: path.to_path_buf(),
            images: Vec::new(),
            objects: Vec::new(),
            categories: Vec::new(),
        };
        json.begin()?;
        let mut first = true;
        let mut found = [false; 3];
        while let Some(key) = json.key(first)? {
            first = false;
            match key.as_str() {
                "images" => {
                    found[0] = true;
                    json.array(|offset, image| instances.add_image(offset, image))?;
                }
                "annotations" => {
                    found[1] = true;
                    json.array(|offset, annotation: Annotation| {
                        if annotation.counts() {
                            instances.objects.push(Object {
                                image: annotation.image_id,
                                category: annotation.category_id,
                                offset,
                            });
                        }
                        Ok(())
                    })?;
                }
                "categories" => {
                    found[2] = true;
                    json.array(|_, category| {
                        instances.categories.push(category);
                        Ok(())
                    })?;
                }
                _ => json.skip()?,
            }
        }
        for (found, key) in found
            .into_iter()
            .zip(["images", "annotations", "categories"])
        {
            if !found {
                return Err(Error::file(path, format_args!("has no `{key}`"))
                    .hint("expected instances JSON as COCO and LVIS have it"));
            }
        }
        if instances.images.is_empty() {
            return Err(Error::file(path, "has no images"));
        }
        instances.categories.sort_by_key(|category| category.id);
        instances.check_categories()?;
        Ok(instances)
    }

    fn add_image(&mut self, offset: u64, image: Image) -> Result<()> {
        let from_url = |url: String| {
            let mut parts = url.rsplit('/');
            let (file, folder) = (parts.next()?, parts.next()?);
            Some(format!("{folder}/{file}"))
        };
        let name = (image.file_name).or_else(|| image.coco_url.and_then(from_url));
        match name {
            Some(name) if !name.is_empty() => {
                self.images.push((image.id, name));
                Ok(())
            }
            _ => Err(Error::file(
                &self.path,
                format_args!(
                    "image {} at byte {offset} has neither `file_name` nor `coco_url`",
                    image.id
                ),
            )),
        }
    }

    fn check_categories(&self) -> Result<()> {
        let mut names = HashMap::new();
        for pair in self.categories.windows(2) {
            if pair[0].id == pair[1].id {
                let problem = format_args!("category id {} occurs twice", pair[0].id);
                return Err(Error::file(&self.path, problem));
            }
        }
        for category in &self.categories {
            if let Some(other) = names.insert(category.name.as_str(), category.id) {
                let problem = format_args!(
                    "categories {other} and {} are both named `{}`",
                    category.id, category.name
                );
                return Err(Error::file(&self.path, problem));
            }
        }
        Ok(())
    }

    /// The class names by ascending category id.
    pub fn classes(&self) -> Vec<String> {
        self.categories.iter().map(|c| c.name.clone()).collect()
    }

    /// The images in the file's order, with the labels of their objects.
    pub fn into_rows(self, classes: &mut ClassIndex) -> Result<Rows> {
        let Instances {
            path,
            images,
            objects,
            categories,
        } = self;
        let mut row_of = HashMap::with_capacity(images.len());
        let mut by_name: HashMap<&str, i64> = HashMap::with_capacity(images.len());
        for (row, (id, name)) in images.iter().enumerate() {
            if row_of.insert(*id, row).is_some() {
                return Err(Error::file(
                    &path,
                    format_args!("image id {id} occurs twice"),
                ));
            }
            if let Some(other) = by_name.insert(name, *id) {
                let problem = format_args!("images {other} and {id} are both named `{name}`");
                return Err(Error::file(&path, problem));
            }
        }
        let name_of: HashMap<i64, &str> =
            categories.iter().map(|c| (c.id, c.name.as_str())).collect();
        let mut class_of: HashMap<i64, u32> = HashMap::new();
        let mut labels: Vec<Vec<u32>> = vec![Vec::new(); images.len()];
        let mut strays = Vec::new();
        for object in &objects {
            let class = match class_of.get(&object.category) {
                Some(&class) => class,
                None => {
                    let Some(&name) = name_of.get(&object.category) else {
                        let problem = format_args!(
                            "the annotation at byte {} has category {}, which is not in `categories`",
                            object.offset, object.category
                        );
                        return Err(Error::file(&path, problem));
                    };
                    let unknown = |classes: &ClassIndex| classes.unknown(path.display(), name);
                    let class = classes.get(name).ok_or_else(|| unknown(classes))?;
                    class_of.insert(object.category, class);
                    class
                }
            };
            match row_of.get(&object.image) {
                Some(&row) if labels[row].contains(&class) => {}
                Some(&row) => labels[row].push(class),
                None => strays.push(object.image),
            }
        }
        if !strays.is_empty() {
            let count = strays.len();
            strays.dedup();
            let names: Vec<String> = strays.iter().map(i64::to_string).collect();
            let names = first_named(names.iter().map(String::as_str));
            let problem = format_args!(
                "{count} annotations belong to images that are not in `images`: {names}"
            );
            return Err(Error::file(&path, problem));
        }
        let names = images.into_iter().map(|(_, name)| name);
        Ok(names.zip(labels).collect())
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

    fn read(text: &str, piece: usize) -> Result<(Vec<String>, Rows)> {
        let path = Path::new("a.json");
        let json = Elements::with_piece(text.as_bytes(), path, piece);
        let instances = Instances::from_elements(json, path)?;
        let classes = instances.classes();
        let rows = instances.into_rows(&mut ClassIndex::new(Some(classes.clone())))?;
        Ok((classes, rows))
    }

    /// Crowds count; ignored, empty and thin objects do not; classes go by id; an image without
    /// labels stays; LVIS names come from the address.
    #[test]
    fn labels_follow_the_rules_of_the_benchmark() {
        let (classes, rows) = read(FILE, 1 << 20).unwrap();
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
    fn pieces_of_any_size_give_the_same() {
        let whole = read(FILE, 1 << 20).unwrap();
        for piece in [4, 5, 7, 16, 61, 200, 999] {
            assert_eq!(read(FILE, piece).unwrap(), whole, "{piece}");
        }
        let marked = format!("\u{feff}{FILE}\n");
        assert_eq!(read(&marked, 64).unwrap(), whole);
    }

    /// Errors name the file and where in it.
    #[test]
    fn mistakes_are_located() {
        let error = |from: &str, to: &str| {
            let text = FILE.replacen(from, to, 1);
            let small = read(&text, 8).unwrap_err().to_string();
            assert_eq!(read(&text, 1 << 20).unwrap_err().to_string(), small);
            small
        };
        let text = error(
            r#""category_id": 44, "iscrowd""#,
            r#""category_id": 45, "iscrowd""#,
        );
        let offset = FILE.find(r#"{"id": 1,"#).unwrap();
        assert!(
            text.contains(&format!("byte {offset}")) && text.contains("category 45"),
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
        let at = FILE.find("[1.5, 2e0]").unwrap();
        let text = error("[1.5, 2e0]", "[1.5, , 0]");
        assert!(text.contains(&format!("byte {}", at + 6)), "{text}, {at}");
        let text = error(r#""image_id": 5"#, r#""image_id": "five""#);
        assert!(
            text.contains("malformed JSON at byte") && text.contains("five"),
            "{text}"
        );
        let text = error("\"images\"", "\"pictures\"");
        assert!(text.contains("has no `images`"), "{text}");
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        for end in 0..FILE.trim_end().len() {
            assert!(read(&FILE[..end], 32).is_err(), "{end}");
        }
        assert!(read(&format!("{FILE} x"), 32).is_err());
        assert!(read("[]", 32).is_err());
        assert!(read("{}", 32).is_err());
    }
}
