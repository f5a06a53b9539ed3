//! Files made to do harm: they say what they do not hold, or carry orders. A clear error, within a
//! second and a hundred megabytes.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dbloss::error::Result;

use crate::common::small::dbloss;
use crate::common::torch::safetensors;
use crate::peak_memory;
use crate::readers::{READERS, feed, named};
use crate::seeds;

/// More than a file may cost that is refused: a second of the program as users build it.
const TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
const MEMORY: u64 = 100 << 20;

/// Reads a hostile file, which costs little whatever becomes of it.
fn fed(reader: &str, what: &str, bytes: &[u8]) -> Result<()> {
    let (memory, start) = (peak_memory(), Instant::now());
    let read = feed(named(reader).unwrap(), bytes);
    let (took, more) = (start.elapsed(), peak_memory().saturating_sub(memory));
    assert!(took < TIME, "{what}: {took:?}");
    assert!(more < MEMORY, "{what}: {} MB", more >> 20);
    read
}

/// What the reader says of a hostile file.
fn refused(reader: &str, what: &str, bytes: &[u8]) -> String {
    let error = fed(reader, what, bytes).expect_err(what).to_string();
    assert!(
        !error.is_empty() && !error.contains("panicked"),
        "{what}: {error}"
    );
    error
}

fn header(text: &str, data: usize) -> Vec<u8> {
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn safetensors_that_lie_are_refused() {
    for reader in ["safetensors", "checkpoint", "features_safetensors"] {
        for (what, bytes) in [
            ("a header of 2^63 bytes", u64::MAX.to_le_bytes().repeat(4)),
            (
                "a header of 99 MB that is not there",
                [&99_000_000u64.to_le_bytes()[..], b"{\"a\":1}"].concat(),
            ),
            (
                "tensors on top of each other",
                header(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                    12,
                ),
            ),
            (
                "more elements than there are numbers",
                header(
                    r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#,
                    8,
                ),
            ),
            (
                "a petabyte in eight bytes",
                header(
                    r#"{"a":{"dtype":"F32","shape":[281474976710656],"data_offsets":[0,1125899906842624]}}"#,
                    8,
                ),
            ),
            (
                "ends before it begins",
                header(
                    r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[8,0]}}"#,
                    8,
                ),
            ),
            ("nested without end", header(&"[".repeat(1_000_000), 0)),
        ] {
            refused(reader, &format!("{reader}: {what}"), &bytes);
        }
    }
    // The same as a well-formed one, so that the cases above fail for what they say.
    let good = safetensors(&[("conv1.weight", "F32", &[2, 3], vec![0; 24])]);
    feed(named("safetensors").unwrap(), &good).ok();
}

/// A pickle that, where it were run as Python does, would call `os.system`.
#[test]
fn a_pickle_with_orders_is_refused_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("was-here");
    for call in [
        "cposix\nsystem\n",
        "cos\nsystem\n",
        "cbuiltins\neval\n",
        "c__builtin__\nexec\n",
    ] {
        let order = format!("touch {}", mark.display());
        let mut pickle = vec![0x80, 2];
        pickle.extend(call.as_bytes());
        pickle.extend(b"(X");
        pickle.extend((order.len() as u32).to_le_bytes());
        pickle.extend(order.as_bytes());
        pickle.extend(b"tR.");
        refused("torch", call, &zipped(&pickle, &[]));
        let mut legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
        legacy.extend(b"\x80\x02}(X\x0d\0\0\0little_endian\x88u.");
        legacy.extend(&pickle);
        refused("torch", call, &legacy);
    }
    assert!(!mark.exists());
}

fn zipped(pickle: &[u8], more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("archive/data.pkl", pickle)].iter().chain(more) {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn pickles_that_promise_too_much_are_refused() {
    let text = |length: u32| [&b"\x80\x02X"[..], &length.to_le_bytes(), b"abc."].concat();
    let deep = [&b"\x80\x02"[..], &b"(".repeat(2_000_000), b"."].concat();
    let nested = [
        &b"\x80\x02"[..],
        &b"]".repeat(500_000),
        &b"a".repeat(499_999),
        b".",
    ]
    .concat();
    // A list that is doubled by reference at every step.
    let mut bomb = b"\x80\x02]q\x00".to_vec();
    for step in 0..60u8 {
        bomb.extend([b']', b'q', step + 1, b'(', b'h', step, b'h', step, b'e']);
    }
    bomb.push(b'.');
    for (what, pickle) in [
        ("a text of 4 GB", text(u32::MAX)),
        ("two million marks", deep),
        ("half a million lists in each other", nested),
        ("a list of two lists of two lists", bomb),
        ("memo number 2^32", b"\x80\x02Nr\xff\xff\xff\xff.".to_vec()),
        (
            "a text of 2^63 bytes",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.".to_vec(),
        ),
        (
            "a frame of 2^63 bytes",
            b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.".to_vec(),
        ),
    ] {
        refused("torch", what, &zipped(&pickle, &[]));
    }
    // An archive whose directory says that an entry of a few bytes has four gigabytes.
    let good = &seeds::of("torch")[0];
    let mut lying = good.clone();
    let directory = b"PK\x01\x02";
    let places: Vec<usize> = (0..lying.len() - 4)
        .filter(|&at| lying[at..].starts_with(directory))
        .collect();
    for at in places {
        lying[at + 20..at + 28].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]);
    }
    refused("torch", "an entry of 4 GB", &lying);
}

#[test]
fn tables_archives_and_pictures_that_lie_are_refused() {
    let npy = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend([0; 16]);
        bytes
    };
    for reader in ["npy", "class_vectors_npy"] {
        for shape in [
            "(2, 1099511627776)",
            "(4294967296, 4294967296)",
            "(18446744073709551615, 2)",
            "(2, 0)",
        ] {
            refused(reader, &format!("{reader} of {shape}"), &npy(shape));
        }
    }
    let mut tar = seeds::entry("a.jpg", b"x");
    tar[124..136].copy_from_slice(b"77777777777\0");
    refused("tar", "an entry of 8 GB in a tar archive", &tar);

    let mut png = seeds::of("picture")
        .into_iter()
        .find(|b| b.starts_with(b"\x89PNG"))
        .unwrap();
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    refused("picture", "a PNG of 2^62 pixels", &png);
    let mut bmp = seeds::of("picture")
        .into_iter()
        .find(|b| b.starts_with(b"BM"))
        .unwrap();
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    refused("picture", "a BMP of 2^62 pixels", &bmp);
    refused(
        "picture",
        "a PPM of 10^18 pixels",
        b"P6 999999999 999999999 255\nabc",
    );
    let gif = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;";
    refused("picture", "a GIF of 65535 x 65535 pixels", gif);

    // Entities that double at every step.
    let mut xml = "<!DOCTYPE a [<!ENTITY e0 \"aaaaaaaaaa\">".to_owned();
    for i in 1..40 {
        xml += &format!("<!ENTITY e{i} \"&e{};&e{};\">", i - 1, i - 1);
    }
    xml += "]><annotation><object><name>&e39;</name></object></annotation>";
    refused("voc", "entities without end", xml.as_bytes());
    let file = "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>\
        <annotation><object><name>&e;</name></object></annotation>";
    refused("voc", "an entity of a file", file.as_bytes());
}

/// Endless nesting neither overflows the stack nor is taken for data.
#[test]
fn deep_nesting_is_refused() {
    for unit in [
        "[",
        "{\"images\":[",
        "{\"a\":",
        "<annotation>",
        "a = [",
        "(lp0\n",
    ] {
        let bytes = unit.repeat(50_000).into_bytes();
        for reader in READERS {
            let what = format!("{}: {unit} and so on", reader.name);
            let read = fed(reader.name, &what, &bytes);
            // Where a line is a name, or a table without rows is one, there is nothing to refuse.
            let nests = [
                "csv",
                "tsv",
                "json_lines",
                "voc",
                "coco",
                "label_me",
                "torch",
                "plan",
            ];
            assert!(read.is_err() || !nests.contains(&reader.name), "{what}");
        }
    }
}

/// Inputs that fuzzing found and that were mended: `READER--what it was`.
#[test]
fn what_was_found_stays_mended() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input/found");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (reader, _) = name.split_once("--").unwrap();
        let _ = fed(reader, &name, &std::fs::read(&path).unwrap());
        tried += 1;
    }
    assert!(tried > 0);
}

/// The library that reads Parquet gives up on some files in a panic: an error like another, of which
/// nobody sees more than that.
#[test]
fn a_library_that_panics_is_not_heard() {
    let folder = tempfile::tempdir().unwrap();
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input/found");
    let file = folder.path().join("p.parquet");
    std::fs::copy(found.join("parquet--no-dictionary"), file).unwrap();
    let output = dbloss(folder.path())
        .args("split --parquet p.parquet --distribution as-is --out s".split(' '))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(!told.contains("panicked"), "{told}");
    assert!(told.contains("damaged: Decoder for dict"), "{told}");
}
