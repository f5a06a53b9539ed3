//! Tests with files of every supported layout, and files with an invalid row.

use ::parquet::basic::{Compression, ZstdLevel};

use super::*;
use crate::data::image::ImageRoot;
use crate::data::source::PictureSource;

#[path = "../../../../tests/common/parquet.rs"]
#[allow(dead_code)]
mod writer;

use writer::{Labels as Given, Written, class_names};

fn pictures(count: usize) -> Vec<Option<Vec<u8>>> {
    let picture = |i: usize| Some(vec![i as u8; 300 + i]);
    (0..count).map(picture).collect()
}

fn lists() -> Vec<Vec<i64>> {
    vec![vec![0], vec![2, 1], vec![], vec![1], vec![0, 2]]
}

/// Five rows with lists of numbers, in row groups of two.
fn written(labels: Given, metadata: Option<String>) -> Vec<u8> {
    Written {
        pictures: &pictures(5),
        plain: false,
        labels,
        metadata,
        group: 2,
        packed: Compression::SNAPPY,
    }
    .bytes()
}

fn load(files: &[(&str, Vec<u8>)], settings: Parquet) -> Result<Loaded> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs_err::write(folder.path().join(name), bytes).unwrap();
    }
    let loaded = Parquet {
        train: folder.path().join(&settings.train),
        classes: (settings.classes.as_ref()).map(|name| folder.path().join(name)),
        ..settings
    }
    .load()?;
    let ImageRoot::Folder { path } = &loaded.train_root else {
        panic!()
    };
    for image in loaded.pool.images() {
        let source = PictureSource::find(&path.join(image)).unwrap().unwrap();
        let row: usize = image.rsplit('/').next().unwrap().parse().unwrap();
        let bytes = source.read(1000).unwrap().unwrap();
        assert_eq!(bytes, pictures(row + 1)[row].clone().unwrap(), "{image}");
        assert!(source.read(10).unwrap().is_none());
    }
    Ok(loaded)
}

fn named(train: &str) -> Parquet {
    Parquet {
        train: train.into(),
        ..Parquet::default()
    }
}

fn labels(loaded: &Loaded) -> Vec<Vec<&str>> {
    let pool = &loaded.pool;
    let names = |i| (pool.labels(i).iter()).map(|&class| &*pool.classes()[class as usize]);
    (0..pool.len()).map(|i| names(i).collect()).collect()
}

fn refused(files: &[(&str, Vec<u8>)], settings: Parquet) -> String {
    let error = load(files, settings).unwrap_err();
    format!("{error} {}", error.remedy().unwrap_or_default())
}

#[test]
fn labels_are_read_from_every_layout() {
    let metadata = || Some(class_names("labels", &["zebra", "cat", "dog", "owl"], true));
    let bytes = written(Given::Numbers(lists()), metadata());
    let loaded = load(&[("a.parquet", bytes.clone())], named("a.parquet")).unwrap();
    // The names from the metadata, in order.
    assert_eq!(loaded.pool.classes(), ["zebra", "cat", "dog", "owl"]);
    let expected = [
        vec!["zebra"],
        vec!["cat", "dog"],
        vec![],
        vec!["cat"],
        vec!["zebra", "dog"],
    ];
    assert_eq!(labels(&loaded), expected);
    assert_eq!(loaded.pool.images()[3], "a.parquet/image/3");

    // Numbers index a class list; without one, the number is the name of the class.
    let plain = written(Given::Numbers(lists()), None);
    let classes = Parquet {
        classes: Some("classes.txt".into()),
        ..named("a.parquet")
    };
    let files = [
        ("a.parquet", plain.clone()),
        ("classes.txt", b"x\ny\nz\n".to_vec()),
    ];
    let loaded = load(&files, classes).unwrap();
    assert_eq!(labels(&loaded)[1], ["y", "z"]);
    let loaded = load(&[("a.parquet", plain)], named("a.parquet")).unwrap();
    assert_eq!(labels(&loaded)[1], ["1", "2"]);

    let text = |list: &Vec<i64>| list.iter().map(|n| format!("class {n}")).collect();
    let names = Given::Names(lists().iter().map(text).collect());
    let loaded = load(&[("a.parquet", written(names, None))], named("a.parquet")).unwrap();
    assert_eq!(labels(&loaded)[4], ["class 0", "class 2"]);

    let one = Given::Number(vec![Some(1), Some(0), Some(1), Some(1), Some(0)]);
    let bytes = written(one, Some(class_names("label", &["b", "a"], false)));
    let loaded = load(&[("a.parquet", bytes)], named("a.parquet")).unwrap();
    assert_eq!(labels(&loaded)[..2], [["a"], ["b"]]);

    let marks = [("b", [1, 0, 1, 0, 0]), ("a", [1, 1, 0, 0, 1])];
    let marks = marks.map(|(name, marks)| (name.to_owned(), marks.to_vec()));
    let bytes = written(Given::Marks(marks.to_vec()), None);
    let loaded = load(&[("a.parquet", bytes)], named("a.parquet")).unwrap();
    assert_eq!(loaded.pool.classes(), ["b", "a"]);
    assert_eq!(
        labels(&loaded)[..4],
        [vec!["b", "a"], vec!["a"], vec!["b"], vec![]]
    );
}

#[test]
fn several_files_and_every_packing() {
    let packings = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ];
    let mut files = Vec::new();
    let names = [
        "t-0.parquet",
        "t-1.parquet",
        "t-2.parquet",
        "t-3.parquet",
        "t-4.parquet",
    ];
    for (i, (name, packed)) in names.into_iter().zip(packings).enumerate() {
        let bytes = Written {
            pictures: &pictures(5),
            plain: i % 2 == 0,
            labels: Given::Numbers(lists()),
            metadata: None,
            group: 1 + i,
            packed,
        }
        .bytes();
        files.push((name, bytes));
    }
    for path in ["t-*.parquet", "t-{0..4}.parquet", ""] {
        let loaded = load(&files, named(path)).unwrap();
        assert_eq!(loaded.pool.len(), 25, "{path}");
        assert_eq!(loaded.pool.images()[24], "t-4.parquet/image/4");
    }
}

#[test]
fn what_is_wrong_is_named_with_row_group_and_row() {
    let file = |labels: Given, metadata| [("a.parquet", written(labels, metadata))];
    let said = |labels, metadata| refused(&file(labels, metadata), named("a.parquet"));
    let mut numbers = lists();
    numbers[3] = vec![7];
    let metadata = class_names("labels", &["a", "b", "c"], true);
    let text = said(Given::Numbers(numbers.clone()), Some(metadata));
    assert!(
        text.contains("a.parquet: row group 1, row 1 (row 3 of the file)"),
        "{text}"
    );
    assert!(text.contains("class 7, but the file names 3"), "{text}");
    numbers[3] = vec![-1];
    let text = said(Given::Numbers(numbers), None);
    assert!(
        text.contains("row 3 of the file") && text.contains("-1"),
        "{text}"
    );
    let text = said(
        Given::Number(vec![Some(0), Some(0), None, Some(0), Some(0)]),
        None,
    );
    assert!(
        text.contains("row group 1, row 0") && text.contains("null"),
        "{text}"
    );
    let marks = vec![("a".to_owned(), vec![0, 1, 0, 1, 2])];
    let text = said(Given::Marks(marks), None);
    assert!(
        text.contains("row group 2, row 0") && text.contains("contains 2"),
        "{text}"
    );
    let text = said(Given::Numbers(lists()), Some("{".to_owned()));
    assert!(
        text.contains("huggingface") && text.contains("--classes"),
        "{text}"
    );

    let settings = Parquet {
        image_column: Some("photo".into()),
        ..named("a.parquet")
    };
    let text = refused(&file(Given::Numbers(lists()), None), settings);
    assert!(
        text.contains("no column `photo`") && text.contains("`image`, `labels`"),
        "{text}"
    );
    let settings = Parquet {
        label_column: Some("tags".into()),
        ..named("a.parquet")
    };
    let text = refused(&file(Given::Numbers(lists()), None), settings);
    assert!(text.contains("no column `tags`"), "{text}");
    for (name, needle) in [("b-*.parquet", "pattern"), ("b.parquet", "missing")] {
        let text = refused(&file(Given::Numbers(lists()), None), named(name));
        assert!(text.contains(needle), "{text}");
    }
    let whole = written(Given::Numbers(lists()), None);
    let cut = [("a.parquet", whole[..whole.len() / 2].to_vec())];
    let text = refused(&cut, named("a.parquet"));
    assert!(text.contains("cannot be read as Parquet"), "{text}");
}

#[test]
fn a_row_without_bytes_is_told_when_it_is_read() {
    let mut some = pictures(5);
    some[3] = None;
    let bytes = Written {
        pictures: &some,
        plain: false,
        labels: Given::Numbers(lists()),
        metadata: None,
        group: 2,
        packed: Compression::SNAPPY,
    }
    .bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs_err::write(&path, bytes).unwrap();
    let read = |row: usize| {
        let source = PictureSource::find(&path.join(format!("image/{row}"))).unwrap();
        source.unwrap().read(1000)
    };
    assert_eq!(read(4).unwrap(), some[4]);
    let text = read(3).unwrap_err().to_string();
    assert!(
        text.contains("row group 1, row 1") && text.contains("no bytes"),
        "{text}"
    );
    for gone in ["image/5", "image/x", "labels/0", "3"] {
        assert!(
            PictureSource::find(&path.join(gone)).unwrap().is_none(),
            "{gone}"
        );
    }
}
