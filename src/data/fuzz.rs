//! Mutated and arbitrary bytes for every reader: an error or a table, never a panic.

use std::path::Path;

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::coco::Instances;
use crate::data::{label_me, open_images, table, voc};
use crate::error::Result;
use crate::rng::Stream;

/// A reader of bytes.
type Reader = fn(&[u8]) -> Result<Rows>;

fn open(
    bytes: &[u8],
    read: impl FnOnce(&[u8], &Path, &mut ClassIndex) -> Result<Rows>,
) -> Result<Rows> {
    let mut classes = ClassIndex::new(None);
    let rows = read(bytes, Path::new("fuzz"), &mut classes)?;
    // Numbers of classes must fit the index, or this goes out of bounds.
    let [_table] = classes.tables([rows.clone()]);
    Ok(rows)
}

/// Every reader with a well-formed file to start from.
fn readers() -> Vec<(&'static str, &'static [u8], Reader)> {
    vec![
        (
            "csv",
            b"image,labels\r\n\"a,b.jpg\",cat|dog\nc.jpg,\nd.jpg,\"do\"\"g\"\n",
            |bytes| open(bytes, |b, p, c| table::parse_delimited(b, p, b',', c)),
        ),
        (
            "one-hot tsv",
            b"image\tcat\tdog\na.jpg\t1\t0\nb.jpg\t0\t1.0\n",
            |bytes| open(bytes, |b, p, c| table::parse_delimited(b, p, b'\t', c)),
        ),
        (
            "json lines",
            b"{\"image\": \"a.jpg\", \"labels\": [\"cat\", \"\\u00e9\"]}\n{\"image\":\"b\",\"labels\":[]}\n",
            |bytes| open(bytes, |b, p, c| table::parse_json_lines(b, p, c)),
        ),
        (
            "open images",
            b"ImageID,Source,LabelName,Confidence\n1a,v,/m/01,1\n1a,v,/m/02,0\n2b,v,/m/01,0.7\n",
            |bytes| {
                let names = [("/m/01".to_owned(), "cat".to_owned())].into();
                open(bytes, |b, p, c| open_images::parse(b, p, &names, 0.5, c))
            },
        ),
        (
            "labelme",
            b"{\"version\": \"5\", \"imagePath\": \"a.jpg\", \"shapes\": [{\"label\": \"cat\", \"points\": [[1, 2.5]]}]}",
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                label_me::parse(&text, Path::new("fuzz")).map(|_| Rows::new())
            },
        ),
        (
            "voc",
            b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e \"x\">]><annotation><object><name>cat&e;</name><difficult>1</difficult></object></annotation>",
            |bytes| {
                let text = String::from_utf8_lossy(bytes);
                let difficult = voc::Difficult::Ignore;
                voc::parse_objects(&text, Path::new("fuzz"), difficult).map(|_| Rows::new())
            },
        ),
        (
            "coco",
            b"{\"info\": {\"a\": [1]}, \"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 2, \"coco_url\": \"x/y/b.jpg\"}], \"annotations\": [{\"image_id\": 1, \"category_id\": 3, \"area\": 2.5, \"bbox\": [0, 0, 2, 2], \"segmentation\": [[1, 2, 3]], \"ignore\": 0}], \"categories\": [{\"id\": 3, \"name\": \"cat\"}]}",
            |bytes| {
                let path = Path::new("fuzz");
                open(bytes, |b, _, c| {
                    let small = Instances::parse_pieces(b, path, 16);
                    let whole = Instances::parse(b, path);
                    assert_eq!(small.is_ok(), whole.is_ok());
                    whole?.into_rows(c)
                })
            },
        ),
    ]
}

/// One of the ways in which files get broken.
fn mutate(bytes: &mut Vec<u8>, stream: &mut Stream) {
    const TELLING: &[u8] = b"\"\\{}[],:|<>&;/\n\r\t\0-+.eE019 \xff\xc3\xef\xbb\xbf";
    for _ in 0..=stream.below(4) {
        let at = stream.below(bytes.len() + 1);
        let end = (at + stream.below(16)).min(bytes.len());
        match stream.below(7) {
            0 if at < bytes.len() => bytes[at] = stream.next_u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << stream.below(8),
            2 => bytes.insert(at, TELLING[stream.below(TELLING.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = stream.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 if stream.chance(0.2) => bytes.truncate(at),
            6 if stream.chance(0.05) => {
                // Deep nesting and long runs.
                let run = vec![TELLING[stream.below(TELLING.len())]; 2000];
                bytes.splice(at..at, run);
            }
            _ => {}
        }
    }
}

/// Feeds every reader at least `total` mutated bytes in all.
fn feed(total: usize) {
    let readers = readers();
    for (name, bytes, read) in &readers {
        assert!(read(bytes).is_ok(), "{name}: {:?}", read(bytes));
    }
    let mut stream = Stream::new(1, "fuzz", 0, 0);
    let (mut fed, mut refused, mut accepted) = (0, 0, 0);
    while fed < total {
        for (_, bytes, read) in &readers {
            let mut bytes = bytes.to_vec();
            if stream.chance(0.02) {
                let length = stream.below(400);
                bytes = (0..length).map(|_| stream.next_u64() as u8).collect();
            }
            mutate(&mut bytes, &mut stream);
            fed += bytes.len();
            match read(&bytes) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // Both ways were taken, or the mutations are too wild or too tame to tell anything.
    assert!(refused > 100 && accepted > 100, "{refused} {accepted}");
}

#[test]
fn no_reader_panics() {
    feed(400_000);
}

#[test]
#[ignore = "10 million bytes take a while; run it after changing a reader"]
fn no_reader_panics_on_ten_million_bytes() {
    feed(10_000_000);
}

/// Endless nesting neither overflows the stack nor is taken for data.
#[test]
fn deep_nesting_is_refused() {
    for unit in ["[", "{\"images\":[", "{\"a\":", "<annotation>"] {
        let bytes = unit.repeat(200_000).into_bytes();
        for (_, _, read) in readers() {
            assert!(read(&bytes).is_err());
        }
    }
}
