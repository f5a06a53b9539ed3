use super::*;
use crate::data::source::PictureSource;

/// A header in the POSIX layout with a correct checksum.
fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, kind, content.len() as u64).to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// An archive of the given files.
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (files.iter())
        .flat_map(|(name, content)| entry(name, b'0', content))
        .collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Tar> {
    Tar::parse(
        std::io::Cursor::new(bytes),
        bytes.len() as u64,
        Path::new("s.tar"),
    )
}

fn refused(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

#[test]
fn long_names_of_both_layouts_are_read_and_the_bytes_lie_where_they_are_said_to() {
    let long = format!("{}/a.jpg", "d".repeat(150));
    let mut bytes = entry("././@LongLink", b'L', format!("{long}\0").as_bytes());
    bytes.extend(entry("cut", b'0', b"first"));
    let record = |key: &str, value: &str| {
        // The length includes its own digits.
        let rest = key.len() + value.len() + 3;
        let digits = (1..4).find(|d| (rest + d).to_string().len() == *d).unwrap();
        format!("{} {key}={value}\n", rest + digits)
    };
    let attributes = record("mtime", "1.5") + &record("path", "ü/b.jpg") + &record("size", "3");
    bytes.extend(entry("PaxHeader", b'x', attributes.as_bytes()));
    // The size in the attributes takes precedence.
    let mut second = header("cut", b'0', 0).to_vec();
    second.extend(b"2nd");
    second.resize(1024, 0);
    bytes.extend(second);
    bytes.extend(entry("folder/", b'5', b""));
    bytes.extend(entry("link", b'2', b""));
    bytes.resize(bytes.len() + 1024, 0);
    let tar = parse(&bytes).unwrap();
    let of = |name: &str| {
        let entry = tar.entry(name).unwrap();
        &bytes[entry.offset as usize..][..entry.length as usize]
    };
    assert_eq!(of(&long), b"first");
    assert_eq!(of("ü/b.jpg"), b"2nd");
    assert_eq!(tar.entries().len(), 2);
    assert_eq!(tar.others(), ["link"]);
}

#[test]
fn what_is_cut_off_or_leads_elsewhere_is_refused() {
    let whole = archive(&[("a.jpg", &[7; 700]), ("a.cls", b"1")]);
    assert!(parse(&whole).is_ok());
    for cut in [1, 511, 600, 1024, 1536, 1537, 2560] {
        assert!(refused(&whole[..cut]).contains("cut off"), "{cut}");
    }
    let beyond = [&header("a.jpg", b'0', 1 << 32)[..], &[0; 1024]].concat();
    let message = refused(&beyond);
    assert!(
        message.contains("`a.jpg` should have 4294967296 bytes"),
        "{message}"
    );
    for name in ["../a.jpg", "x/../../a.jpg", "/etc/a.jpg"] {
        let message = refused(&archive(&[(name, b"x")]));
        assert!(
            message.contains("leads out") && message.contains(name),
            "{message}"
        );
    }
    assert!(refused(&archive(&[("a.jpg", b"x"), ("./a.jpg", b"y")])).contains("twice"));
    assert!(refused(b"\x1f\x8b compressed").contains("cut off"));
    assert!(refused(&[b'x'; 2048]).contains("no header at byte 0"));
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    assert!(refused(&flipped).contains("byte 0"));
    // Concatenated archives are read as one.
    let joined = [whole, archive(&[("b.jpg", b"x")])].concat();
    assert_eq!(parse(&joined).unwrap().entries().len(), 3);
}

fn load(shards: &[(&str, Vec<u8>)], settings: WebDataset) -> Result<Loaded> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in shards {
        fs_err::write(folder.path().join(name), bytes).unwrap();
    }
    let train = folder.path().join(&settings.train);
    let classes = (settings.classes.is_some()).then(|| folder.path().join("classes.txt"));
    let loaded = WebDataset {
        train,
        classes,
        ..settings
    }
    .load();
    if let Ok(loaded) = &loaded {
        let ImageRoot::Folder { path } = &loaded.train_root else {
            panic!()
        };
        for image in loaded.pool.images() {
            let source = PictureSource::find(&path.join(image)).unwrap().unwrap();
            assert_eq!(source.read(100).unwrap().unwrap(), b"picture", "{image}");
        }
    }
    loaded
}

use crate::data::image::ImageRoot;

fn labels(loaded: &Loaded) -> Vec<(String, Vec<String>)> {
    let pool = &loaded.pool;
    let named = |i: usize| (pool.labels(i).iter()).map(|&c| pool.classes()[c as usize].clone());
    (pool.images().iter().enumerate())
        .map(|(i, image)| (image.clone(), named(i).collect()))
        .collect()
}

fn sample(ending: &str, content: &[u8]) -> Vec<u8> {
    archive(&[("a.jpg", b"picture"), (&format!("a.{ending}"), content)])
}

#[test]
fn labels_are_read_from_each_kind_of_file() {
    let one = |ending: &str, content: &[u8]| {
        let settings = WebDataset {
            train: "s.tar".into(),
            ..WebDataset::default()
        };
        let loaded = load(&[("s.tar", sample(ending, content))], settings)?;
        Ok::<_, Error>(labels(&loaded)[0].1.clone())
    };
    assert_eq!(one("cls", b"3").unwrap(), ["3"]);
    assert_eq!(one("cls", b"3 5\n").unwrap(), ["3", "5"]);
    assert_eq!(
        one("txt", b"dog\r\nlarge cat\n").unwrap(),
        ["dog", "large cat"]
    );
    assert_eq!(
        one("json", br#"{"labels": ["dog", 4], "x": 1}"#).unwrap(),
        ["4", "dog"]
    );
    assert_eq!(one("json", br#"{"label": "dog"}"#).unwrap(), ["dog"]);
    assert_eq!(one("json", b"[1]").unwrap(), ["1"]);
    let message = one("json", br#"{"tags": []}"#).unwrap_err().to_string();
    assert!(
        message.contains("a.json") && message.contains("`tags`"),
        "{message}"
    );
    let message = one("json", br#"{"labels": [1.5]}"#)
        .unwrap_err()
        .to_string();
    assert!(message.contains("1.5"), "{message}");
    let message = one("bbox", b"").unwrap_err().to_string();
    assert!(message.contains("no cls, json or txt"), "{message}");
}

#[test]
fn numbers_count_along_the_class_list() {
    let settings = || WebDataset {
        train: "s-{0..1}.tar".into(),
        classes: Some("classes.txt".into()),
        ..WebDataset::default()
    };
    let classes = ("classes.txt", b"cat\ndog\n".to_vec());
    let second = archive(&[
        ("x/b.c.jpg", b"?"),
        ("x/b.jpg", b"picture"),
        ("x/b.cls", b"0\n1"),
    ]);
    let shards = [
        classes.clone(),
        ("s-0.tar", sample("cls", b"1")),
        ("s-1.tar", second),
    ];
    let loaded = load(&shards, settings()).unwrap();
    let expected = [
        ("s-0.tar/a.jpg".to_owned(), vec!["dog".to_owned()]),
        (
            "s-1.tar/x/b.jpg".to_owned(),
            vec!["cat".to_owned(), "dog".to_owned()],
        ),
    ];
    assert_eq!(labels(&loaded), expected);
    assert_eq!(loaded.account.facts()[0].first, ["x/b.c.jpg"]);
    let shards = [
        classes,
        ("s-0.tar", sample("cls", b"2")),
        ("s-1.tar", sample("cls", b"1")),
    ];
    let message = load(&shards, settings()).unwrap_err().to_string();
    assert!(
        message.contains("a.cls") && message.contains("class 2, of 2"),
        "{message}"
    );
}

#[test]
fn what_may_mean_two_things_is_asked_for() {
    let both = archive(&[("a.jpg", b"picture"), ("a.cls", b"1"), ("a.txt", b"dog")]);
    let shards = [("s.tar", both)];
    let settings = |labels_in| WebDataset {
        train: "s.tar".into(),
        labels_in,
        ..WebDataset::default()
    };
    let message = load(&shards, settings(None)).unwrap_err().to_string();
    assert!(message.contains("its cls or its txt"), "{message}");
    let loaded = load(&shards, settings(Some(LabelFile::Txt))).unwrap();
    assert_eq!(labels(&loaded)[0].1, ["dog"]);
    let two = archive(&[("a.jpg", b"x"), ("a.png", b"y"), ("a.cls", b"1")]);
    let message = load(&[("s.tar", two)], settings(None))
        .unwrap_err()
        .to_string();
    assert!(message.contains("`a.jpg` and `a.png`"), "{message}");
    let message = load(&[], settings(None)).unwrap_err().to_string();
    assert!(message.contains("missing"), "{message}");
}
