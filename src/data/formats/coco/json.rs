//! Parses instances JSON entry by entry, skipping the segmentations, which make up most of a file.

use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use super::lenient::{Bounds, Flag, Id, Number};
use crate::data::picture_name;
use crate::error::{Error, Result};
use crate::text::{self, json_error};

/// The contents of a file, without the segmentations.
#[derive(Default)]
pub(super) struct Contents {
    /// Ids and names.
    pub images: Vec<(Id, String)>,
    pub objects: Vec<Object>,
    pub categories: Vec<Category>,
}

/// Reads a file in one pass; `path` appears in errors.
pub(super) fn read(reader: impl Read, path: &Path) -> Result<Contents> {
    let mut contents = Contents::default();
    let opened = text::open(reader, path)?;
    if opened.head.trim().is_empty() {
        return Err(Error::file(path, "the file is empty"));
    }
    // The parser reads byte by byte; a call through the box for each byte would take most of the
    // time.
    let buffered = BufReader::with_capacity(BUFFER, opened.all);
    let mut json = serde_json::Deserializer::from_reader(buffered);
    let found = (File(&mut contents).deserialize(&mut json))
        .and_then(|found| json.end().map(|()| found))
        .map_err(|e| json_error(path, &e, &[]))?;
    for (found, key) in found.into_iter().zip(KEYS) {
        if !found {
            return Err(Error::file(path, format_args!("has no `{key}`"))
                .hint("expected an instances JSON file, as COCO and LVIS have"));
        }
    }
    Ok(contents)
}

/// An entry of `images`. LVIS has no `file_name`, but its `coco_url` ends with folder and file.
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

/// An entry of `annotations`; its segmentation is skipped.
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

/// The reason why the benchmarks do not count an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Ignored,
    Area,
    Side,
}

impl Annotation {
    /// Returns why the object may not count. Crowds count, and so do objects with neither box nor
    /// area.
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
pub(super) struct Category {
    pub id: Id,
    pub name: String,
}

/// An annotation: image id, category id, and the reason why it may not count.
pub(super) struct Object {
    pub image: Id,
    pub category: Id,
    pub doubt: Option<Doubt>,
}

/// Buffer size for reading the file, in bytes.
const BUFFER: usize = 1 << 20;

/// The arrays that a file must contain.
const KEYS: [&str; 3] = ["images", "annotations", "categories"];

/// Parses the top-level object entry by entry.
struct File<'a>(&'a mut Contents);

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
        let Contents {
            images,
            objects,
            categories,
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

/// Passes the entries of an array to a function one by one.
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
