//! Decoding: every format and orientation, and what is no picture.
//!
//! `input/pictures/` was made by `input/make_pictures.py` with Pillow.

use std::path::{Path, PathBuf};

use dbloss::data::image::{self, ImageRoot, Rgb8};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures")
}

/// The gradient that all files show.
fn truth(x: u32, y: u32) -> [u8; 3] {
    [(10 * x) as u8, (15 * y) as u8, (255 - 6 * x) as u8]
}

fn assert_shows(picture: &Rgb8, expected: impl Fn(u32, u32) -> [u8; 3], tolerance: u8, name: &str) {
    assert_eq!((picture.width(), picture.height()), (24, 16), "{name}");
    for y in 0..16 {
        for (x, pixel) in picture.row(y).chunks_exact(3).enumerate() {
            let expected = expected(x as u32, y);
            for (found, expected) in pixel.iter().zip(expected) {
                assert!(
                    found.abs_diff(expected) <= tolerance,
                    "{name} at ({x}, {y}): {pixel:?}, expected {expected:?}"
                );
            }
        }
    }
}

#[test]
fn every_format_is_decoded() {
    let lossless = [
        "picture.png",
        "alpha.png",
        "deep.png",
        "picture.bmp",
        "alpha.bmp",
        "lossless.webp",
    ];
    for name in lossless {
        assert_shows(&image::read(&folder().join(name)).unwrap(), truth, 0, name);
    }
    let lossy = [
        ("baseline.jpg", 4),
        ("progressive.jpg", 4),
        ("cmyk.jpg", 6),
        ("lossy.webp", 12),
    ];
    for (name, tolerance) in lossy {
        assert_shows(
            &image::read(&folder().join(name)).unwrap(),
            truth,
            tolerance,
            name,
        );
    }
    let grey = [
        ("grey.png", 1),
        ("palette.png", 1),
        ("deep-grey.png", 1),
        ("palette.bmp", 1),
        ("grey.jpg", 4),
    ];
    for (name, tolerance) in grey {
        // ITU-R 601.
        let expected = |x, y| {
            let [r, g, b] = truth(x, y).map(f64::from);
            [(0.299 * r + 0.587 * g + 0.114 * b) as u8; 3]
        };
        assert_shows(
            &image::read(&folder().join(name)).unwrap(),
            expected,
            tolerance,
            name,
        );
    }
}

#[test]
fn every_orientation_comes_out_upright() {
    for orientation in 2..=8 {
        let name = format!("orientation-{orientation}.jpg");
        assert_shows(
            &image::read(&folder().join(&name)).unwrap(),
            truth,
            4,
            &name,
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "picture.png",
        "lossy.webp",
        "picture.bmp",
    ] {
        let whole = fs_err::read(folder().join(name)).unwrap();
        assert!(image::decode(&whole).is_ok());
        for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            // A PNG without its last chunk has all its pixels.
            if name == "picture.png" && cut + 12 >= whole.len() {
                continue;
            }
            assert!(image::decode(&whole[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn broken_bytes_never_panic() {
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "picture.png",
        "lossy.webp",
        "picture.bmp",
    ] {
        let whole = fs_err::read(folder().join(name)).unwrap();
        for at in 0..whole.len() {
            for value in [0x00, 0xFF, whole[at] ^ 0x55] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = image::decode(&broken);
            }
        }
    }
}

#[test]
fn errors_name_the_file_and_the_problem() {
    let temporary = tempfile::tempdir().unwrap();
    let root = ImageRoot::Folder {
        path: temporary.path().to_path_buf(),
    };
    let jpeg = fs_err::read(folder().join("baseline.jpg")).unwrap();
    let cases: [(&str, &[u8], &str); 4] = [
        ("truncated.jpg", &jpeg[..jpeg.len() / 2], "truncated"),
        ("text.jpg", b"<html>not found</html>", "not a picture"),
        ("empty.jpg", b"", "empty"),
        ("animation.gif", b"GIF89a\x01\x00\x01\x00", "expected JPEG"),
    ];
    for (name, bytes, problem) in cases {
        fs_err::write(temporary.path().join(name), bytes).unwrap();
        let error = root.decode(name).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains(problem),
            "{message}"
        );
        assert_eq!(error.exit_code(), 2);
    }
    let message = root.decode("missing.jpg").unwrap_err().to_string();
    assert!(message.contains("missing.jpg"), "{message}");
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    // A PNG header that promises 30,000 x 30,000 pixels: 2.7 GB.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(30_000u32.to_be_bytes());
    png.extend(30_000u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    let mut checksum = 0xFFFF_FFFFu32;
    for &byte in &png[12..] {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            checksum = (checksum >> 1) ^ (0xEDB8_8320 & (checksum & 1).wrapping_neg());
        }
    }
    png.extend((!checksum).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT");
    let problem = image::decode(&png).unwrap_err();
    assert!(problem.contains("30000 x 30000"), "{problem}");
    // The same in a JPEG's frame header.
    let mut jpeg = fs_err::read(folder().join("baseline.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let problem = image::decode(&jpeg).unwrap_err();
    assert!(problem.contains("larger than the limit"), "{problem}");
}
