//! WebDataset: tar archives in which the files of a sample share a name: `KEY.jpg` with `KEY.cls`,
//! `KEY.json` or `KEY.txt`.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use super::shards::{Shards, folder_of_shards, shards};
use crate::data::class_index::{Reading, Rows};
use crate::data::picture::has_picture_ending;
use crate::data::tar::{Entry, Tar};
use crate::error::{Error, Result};
use crate::text;

annotation_files! {
    /// Tar archives with the files of a sample beside each other.
    #[derive(Default)]
    pub struct WebDataset {
        /// Which file of a sample holds its labels; where all samples have but one such file, that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub labels_in: Option<LabelFile>,
        /// The key of the labels in JSON; `labels` or `label` unless another is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub json_key: Option<String>,
    }
}

/// A file that labels lie in, by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelFile {
    /// Numbers or names of classes, in lines; numbers in one line too.
    Cls,
    /// An object with the labels under a key, or the labels alone.
    Json,
    /// The name of a class in each line.
    Txt,
}

impl LabelFile {
    const ALL: [LabelFile; 3] = [LabelFile::Cls, LabelFile::Json, LabelFile::Txt];

    fn ending(self) -> &'static str {
        match self {
            LabelFile::Cls => "cls",
            LabelFile::Json => "json",
            LabelFile::Txt => "txt",
        }
    }
}

impl fmt::Display for LabelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ending())
    }
}

impl Format for WebDataset {
    const INFO: Info = Info {
        sources: &[option(
            "webdataset",
            "train",
            OptionValue::Path("SHARDS"),
            "WebDataset shards: one tar archive, several as `name-{000..012}.tar` or `name-*.tar`, or a folder of them",
        )],
        options: options_beside_files!(
            option(
                "labels-in",
                "labels_in",
                OptionValue::Choice(&["cls", "json", "txt"]),
                "WebDataset: which file of a sample holds its labels [default: the only one there is]",
            ),
            option(
                "json-key",
                "json_key",
                OptionValue::Text("KEY"),
                "WebDataset: key of the labels in a sample's JSON [default: labels, or label]",
            ),
        ),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        files.load(
            Reading::new(files.classes)?,
            folder_of_shards,
            |path, reading| self.read_rows(path, reading),
        )
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// The files of a sample: the picture, and the label files by extension.
#[derive(Default)]
struct Sample<'a> {
    picture: Option<&'a Entry>,
    labels: [Option<&'a Entry>; 3],
}

/// The kind of file to look for.
const ARCHIVES: Shards = Shards {
    ending: "tar",
    remedy: "decompress the shards first: pictures are read from their place in the archive",
};

/// Maximum size of a label file in bytes.
const LONGEST_LABELS: u64 = 1 << 20;

impl WebDataset {
    /// Reads all shards that a path refers to, in order.
    fn read_rows(&self, path: &Path, reading: &mut Reading) -> Result<Rows> {
        let mut rows = Rows::new();
        for (shard, name) in shards(path, ARCHIVES)? {
            let tar = Tar::of(&shard)?;
            let file = fs_err::File::open(&shard)?;
            self.read_shard(file, &tar, (&shard, &name), reading, &mut rows)?;
        }
        match rows.is_empty() {
            true => Err(Error::file(path, "contains no sample with a picture")
                .hint("expected `KEY.jpg` beside `KEY.cls`, `KEY.json` or `KEY.txt`")),
            false => Ok(rows),
        }
    }

    /// Adds the samples of a shard, given by its path and the prefix of its pictures' names.
    fn read_shard(
        &self,
        mut reader: impl Read + Seek,
        tar: &Tar,
        (shard, name): (&Path, &str),
        reading: &mut Reading,
        rows: &mut Rows,
    ) -> Result<()> {
        let mut left_out: Vec<&str> = tar.others().iter().map(String::as_str).collect();
        let mut without_picture = Vec::new();
        for (key, sample) in samples(tar, shard, &mut left_out)? {
            let Some(picture) = sample.picture else {
                without_picture.push(key);
                continue;
            };
            let (kind, entry) = self.label_file(key, &sample, shard)?;
            let place = shard.join(&entry.name);
            let bytes = read_entry(&mut reader, entry, &place)?;
            let labels = match kind {
                LabelFile::Json => self.json_labels(&bytes, &place)?,
                _ => text_labels(&bytes, &place, kind)?,
            };
            let labels = labels
                .iter()
                .map(|label| number(label, &place, reading))
                .collect::<Result<_>>()?;
            rows.push((format!("{name}/{}", picture.name), labels));
        }
        let what = ("file", "not needed here left out");
        reading.account.tell(shard, what, left_out);
        let what = ("sample", "without a picture left out");
        reading.account.warn(shard, what, without_picture, "");
        Ok(())
    }

    /// Returns the file of a sample that contains its labels.
    fn label_file<'a>(
        &self,
        key: &str,
        sample: &Sample<'a>,
        shard: &Path,
    ) -> Result<(LabelFile, &'a Entry)> {
        let there: Vec<(LabelFile, &Entry)> = (LabelFile::ALL.into_iter())
            .zip(sample.labels)
            .filter_map(|(kind, entry)| Some((kind, entry?)))
            .filter(|(kind, _)| self.labels_in.is_none_or(|wanted| wanted == *kind))
            .collect();
        let sample = shard.join(key);
        match (there.as_slice(), self.labels_in) {
            ([only], _) => Ok(*only),
            ([], Some(wanted)) => Err(Error::file(
                &sample,
                format_args!("the sample has no `{key}.{wanted}`"),
            )
            .hint("every picture needs a file of labels; an empty one means no labels")),
            ([], None) => Err(Error::file(
                &sample,
                "the sample has no cls, json or txt beside its picture",
            )
            .hint("every picture needs a file of labels; an empty one means no labels")),
            ([(first, _), (second, _), ..], _) => Err(Error::file(
                &sample,
                format_args!("either its {first} or its {second} could hold the labels"),
            )
            .hint(format_args!(
                "choose one with `--labels-in {first}`, or `labels_in`"
            ))),
        }
    }

    /// Returns the labels in JSON: those under their key, or else the whole value.
    fn json_labels(&self, bytes: &[u8], place: &Path) -> Result<Vec<Label>> {
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|e| Error::file(place, text::json_problem(&e, bytes)))?;
        let found = match &value {
            serde_json::Value::Object(object) => {
                let keys: Vec<&str> = match &self.json_key {
                    Some(key) => vec![key],
                    None => vec!["labels", "label"],
                };
                let found: Vec<_> = keys.iter().filter_map(|key| object.get(*key)).collect();
                match found.as_slice() {
                    [only] => *only,
                    [] => {
                        let there: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
                        let problem = format!(
                            "has no key `{}`; it has `{}`",
                            keys.join("` or `"),
                            there.join("`, `")
                        );
                        return Err(Error::file(place, problem)
                            .hint("name the key of the labels: `--json-key KEY`, or `json_key`"));
                    }
                    _ => {
                        return Err(Error::file(place, "has both `labels` and `label`")
                            .hint("choose one with `--json-key KEY`, or `json_key`"));
                    }
                }
            }
            other => other,
        };
        let several = match found {
            serde_json::Value::Array(values) => values.iter().collect(),
            one => vec![one],
        };
        several
            .into_iter()
            .map(|value| match (value, value.as_u64()) {
                (_, Some(number)) => Ok(Label::Number(number)),
                (serde_json::Value::String(name), _) => Ok(Label::Name(name.clone())),
                (other, _) => {
                    let problem = format!("the label {other} is neither a name nor a number");
                    Err(Error::file(place, problem))
                }
            })
            .collect()
    }
}

/// Groups the files of a shard into samples, in the order of their first files. The key of a sample
/// is the name up to the first dot after the last `/`. Files that are neither pictures nor labels
/// are added to `left_out`.
fn samples<'a>(
    tar: &'a Tar,
    shard: &Path,
    left_out: &mut Vec<&'a str>,
) -> Result<Vec<(&'a str, Sample<'a>)>> {
    let mut found: Vec<(&str, Sample)> = Vec::new();
    let mut place = std::collections::HashMap::new();
    for entry in tar.entries() {
        let name = entry.name.as_str();
        let base = name.rfind('/').map_or(0, |slash| slash + 1);
        let Some(dot) = name[base..].find('.').filter(|dot| *dot > 0) else {
            left_out.push(name);
            continue;
        };
        let (key, ending) = (&name[..base + dot], &name[base + dot + 1..]);
        let kind = LabelFile::ALL
            .iter()
            .position(|k| k.ending().eq_ignore_ascii_case(ending));
        let is_picture = !ending.contains('.') && has_picture_ending(name);
        if kind.is_none() && !is_picture {
            left_out.push(name);
            continue;
        }
        let at = *place.entry(key).or_insert_with(|| {
            found.push((key, Sample::default()));
            found.len() - 1
        });
        let sample = &mut found[at].1;
        let slot = match kind {
            Some(kind) => &mut sample.labels[kind],
            None => &mut sample.picture,
        };
        if let Some(first) = slot.replace(entry) {
            let problem = format!("the sample has both `{}` and `{name}`", first.name);
            return Err(Error::file(&shard.join(key), problem)
                .hint("a sample has one picture and at most one label file of each kind"));
        }
    }
    Ok(found)
}

fn read_entry(reader: &mut (impl Read + Seek), entry: &Entry, place: &Path) -> Result<Vec<u8>> {
    if entry.length > LONGEST_LABELS {
        let problem = format!("has {} bytes, too many for labels", entry.length);
        return Err(Error::file(place, problem));
    }
    let mut bytes = vec![0; entry.length as usize];
    (reader.seek(SeekFrom::Start(entry.offset)))
        .and_then(|_| reader.read_exact(&mut bytes))
        .map_err(|e| Error::file(place, e))?;
    Ok(bytes)
}

/// A label as written in the file.
enum Label {
    /// A class by its index in the class list, or a class whose name is this number.
    Number(u64),
    Name(String),
}

/// Returns the labels in the lines of a text.
fn text_labels(bytes: &[u8], place: &Path, kind: LabelFile) -> Result<Vec<Label>> {
    let text = str::from_utf8(bytes).map_err(|_| Error::file(place, "the text is not UTF-8"))?;
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let mut labels = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = line.split_whitespace();
        if kind == LabelFile::Cls && words.clone().all(is_number) {
            for word in words {
                let number = word.parse();
                labels.push(Label::Number(number.map_err(|e| Error::file(place, e))?));
            }
        } else {
            labels.push(Label::Name(line.to_owned()));
        }
    }
    Ok(labels)
}

/// Returns the class of a label; a number is an index into the class list if there is one.
fn number(label: &Label, place: &Path, reading: &mut Reading) -> Result<u32> {
    let name = match label {
        Label::Name(name) => name.clone(),
        Label::Number(number) => {
            let name = number.to_string();
            let classes = &reading.classes;
            match classes.is_closed() && !classes.knows(&name) {
                false => name,
                true => {
                    let count = classes.names().len();
                    let at = usize::try_from(*number).ok().filter(|at| *at < count);
                    return at.map(|at| at as u32).ok_or_else(|| {
                        let problem = format!("class {number}, of {count} in the class list");
                        Error::file(place, problem).hint("numbers count from 0")
                    });
                }
            }
        }
    };
    reading.classes.number(&name, place, None)
}

#[cfg(test)]
mod tests;
