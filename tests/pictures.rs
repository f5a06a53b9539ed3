//! Tests decoding: every format and orientation, and files that are not pictures.
//!
//! `input/pictures/` was made by `input/make_pictures.py` with Pillow.

use std::path::{Path, PathBuf};

use dbloss::data::image::{self as pictures, ImageRoot};
use dbloss::data::picture::{FORMATS, Rgb8, has_picture_ending};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures")
}

/// Returns a pixel of the gradient that all files show.
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
        assert_shows(
            &pictures::read(&folder().join(name)).unwrap(),
            truth,
            0,
            name,
        );
    }
    let lossy = [
        ("baseline.jpg", 4),
        ("progressive.jpg", 4),
        ("cmyk.jpg", 6),
        ("lossy.webp", 12),
    ];
    for (name, tolerance) in lossy {
        assert_shows(
            &pictures::read(&folder().join(name)).unwrap(),
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
        // The luma formula of ITU-R 601.
        let expected = |x, y| {
            let [r, g, b] = truth(x, y).map(f64::from);
            [(0.299 * r + 0.587 * g + 0.114 * b) as u8; 3]
        };
        assert_shows(
            &pictures::read(&folder().join(name)).unwrap(),
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
            &pictures::read(&folder().join(&name)).unwrap(),
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
        assert!(pictures::decode(&whole).is_ok());
        for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            // A PNG without its last chunk still has all its pixels.
            if name == "picture.png" && cut + 12 >= whole.len() {
                continue;
            }
            assert!(
                pictures::decode(&whole[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
    }
}

#[test]
fn broken_bytes_never_panic() {
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "picture.png",
        "lossy.webp",
        "picture.bmp",
    ] {
        files.push((name, fs_err::read(folder().join(name)).unwrap()));
    }
    for format in [ImageFormat::Tiff, ImageFormat::Gif, ImageFormat::Pnm] {
        files.push(("made", encoded(&gradient(), format)));
    }
    for (_, whole) in files {
        for at in 0..whole.len() {
            for value in [0x00, 0xFF, whole[at] ^ 0x55] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = pictures::decode(&broken);
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
    let cases: [(&str, &[u8], &str); 8] = [
        ("truncated.jpg", &jpeg[..jpeg.len() / 2], "truncated"),
        ("text.jpg", b"<html>not found</html>", "an HTML page"),
        ("empty.jpg", b"", "empty"),
        ("zeros.jpg", &[0; 4096], "nothing but zeros"),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (
            "unfetched.png",
            b"version https://git-lfs.github.com/spec/v1\n",
            "Git LFS",
        ),
        (
            "noise.png",
            &[7, 200, 9, 255, 1],
            "not a picture, expected JPEG",
        ),
        ("cut.gif", b"GIF89a\x01\x00\x01\x00", "damaged GIF"),
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
    // A PNG header that declares 30,000 x 30,000 pixels: 2.7 GB.
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
    let problem = pictures::decode(&png).unwrap_err();
    assert!(problem.contains("30000 x 30000"), "{problem}");
    assert!(problem.contains("100000000 in all"), "{problem}");
    // The same in the frame header of a JPEG.
    let mut jpeg = fs_err::read(folder().join("baseline.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let problem = pictures::decode(&jpeg).unwrap_err();
    assert!(
        problem.contains("more than the limit of 32768 per side"),
        "{problem}"
    );
}

/// Returns the gradient in the form that encoders expect.
fn gradient() -> DynamicImage {
    DynamicImage::ImageRgb8(image::RgbImage::from_fn(24, 16, |x, y| {
        image::Rgb(truth(x, y))
    }))
}

/// Returns a pixel of a picture of four colours, as in a palette.
fn flag(x: u32, y: u32) -> [u8; 3] {
    [[200, 10, 30], [0, 0, 0], [255, 255, 255], [17, 130, 240]][(x / 12 + 2 * (y / 8)) as usize]
}

fn flags() -> DynamicImage {
    DynamicImage::ImageRgb8(image::RgbImage::from_fn(24, 16, |x, y| {
        image::Rgb(flag(x, y))
    }))
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn every_ending_is_a_picture_s_and_the_content_decides() {
    for name in [
        "a.JPG", "a.b.jfif", "a.jpe", "a.tif", "a.TIFF", "a.gif", "a.ppm",
    ] {
        assert!(has_picture_ending(name), "{name}");
    }
    for name in ["a.txt", "jpg", "a.jpg.part", ".gitignore"] {
        assert!(!has_picture_ending(name), "{name}");
    }
    let temporary = tempfile::tempdir().unwrap();
    let png = fs_err::read(folder().join("picture.png")).unwrap();
    for ending in FORMATS.iter().flat_map(|format| format.endings) {
        let path = temporary.path().join(format!("a.{ending}"));
        fs_err::write(&path, &png).unwrap();
        assert_shows(&pictures::read(&path).unwrap(), truth, 0, ending);
    }
}

#[test]
fn tiff_pnm_and_gif_are_read_in_every_depth() {
    let picture = gradient();
    for (what, image) in [
        ("8 bits", picture.clone()),
        ("alpha", DynamicImage::ImageRgba8(picture.to_rgba8())),
        ("16 bits", DynamicImage::ImageRgb16(picture.to_rgb16())),
    ] {
        let tiff = encoded(&image, ImageFormat::Tiff);
        assert_shows(&pictures::decode(&tiff).unwrap(), truth, 0, what);
        for cut in (0..tiff.len()).step_by(11) {
            assert!(
                pictures::decode(&tiff[..cut]).is_err(),
                "{what} cut at {cut}"
            );
        }
    }
    let grey = DynamicImage::ImageLuma8(picture.to_luma8());
    let shown = pictures::decode(&encoded(&grey, ImageFormat::Tiff)).unwrap();
    let luma = picture.to_luma8();
    assert_shows(&shown, |x, y| [luma.get_pixel(x, y)[0]; 3], 0, "grey TIFF");
    let floating = encoded(
        &DynamicImage::ImageRgb32F(picture.to_rgb32f()),
        ImageFormat::Tiff,
    );
    let problem = pictures::decode(&floating).unwrap_err();
    assert!(problem.contains("floating-point"), "{problem}");
    let pnm = encoded(&picture, ImageFormat::Pnm);
    assert_shows(&pictures::decode(&pnm).unwrap(), truth, 0, "PNM");
    let gif = encoded(&flags(), ImageFormat::Gif);
    assert_shows(&pictures::decode(&gif).unwrap(), flag, 0, "GIF");
}

#[test]
fn of_an_animation_the_first_picture_is_taken() {
    let first = flags().to_rgba8();
    let second = image::RgbaImage::from_pixel(24, 16, image::Rgba([255, 0, 0, 255]));
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new(&mut gif);
    encoder
        .encode_frames([Frame::new(first), Frame::new(second)])
        .unwrap();
    drop(encoder);
    assert_shows(&pictures::decode(&gif).unwrap(), flag, 0, "animated GIF");
    // Two frames: the lossless picture, then one of a single colour.
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let mut chunk = name.to_vec();
        chunk.extend((content.len() as u32).to_le_bytes());
        chunk.extend(content);
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        chunk
    };
    let frame = |webp: &[u8]| {
        // x, y, width - 1, height - 1 and duration in 24 bits each, then flags; then the frame's
        // chunks.
        let mut content = vec![0, 0, 0, 0, 0, 0, 23, 0, 0, 15, 0, 0, 100, 0, 0, 0];
        content.extend(&webp[12..]);
        chunk(b"ANMF", &content)
    };
    let plain =
        DynamicImage::ImageRgb8(image::RgbImage::from_pixel(24, 16, image::Rgb([255, 0, 0])));
    let content = [
        b"WEBP".to_vec(),
        chunk(b"VP8X", &[2, 0, 0, 0, 23, 0, 0, 15, 0, 0]),
        chunk(b"ANIM", &[0; 6]),
        frame(&encoded(&gradient(), ImageFormat::WebP)),
        frame(&encoded(&plain, ImageFormat::WebP)),
    ]
    .concat();
    let webp = chunk(b"RIFF", &content);
    // Blending rounds.
    assert_shows(&pictures::decode(&webp).unwrap(), truth, 1, "animated WebP");
}

#[test]
fn what_follows_a_jpeg_is_no_part_of_it() {
    let jpeg = fs_err::read(folder().join("baseline.jpg")).unwrap();
    let progressive = fs_err::read(folder().join("progressive.jpg")).unwrap();
    let film = b"\0\0\0\x18ftypmp42".repeat(40);
    // Bytes that look like the beginning of a scan without an end, as in a truncated second
    // picture.
    let scans = [0xFF, 0xDA, 0x44, 0x00, 0x91, 0x12].repeat(9);
    for (name, picture) in [("baseline", &jpeg), ("progressive", &progressive)] {
        let expected = pictures::decode(picture).unwrap();
        for tail in [
            &film,
            &scans,
            &jpeg[..jpeg.len() / 2].to_vec(),
            &progressive,
            &vec![0xFF; 9],
        ] {
            let file = [&picture[..], tail].concat();
            assert!(pictures::decode(&file).as_ref() == Ok(&expected), "{name}");
        }
        // Bytes between the segments: decoders skip them.
        let first = 4 + usize::from(u16::from_be_bytes([picture[4], picture[5]]));
        let junk = [&picture[..first], &[1, 2, 3, 4, 5, 6, 7], &picture[first..]].concat();
        assert!(
            pictures::decode(&junk).as_ref() == Ok(&expected),
            "{name}, junk"
        );
    }
}

/// Returns where the coded data of the scans begin and end.
fn scans(jpeg: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut scans) = (2, Vec::new());
    loop {
        let marker = jpeg[at + 1];
        if marker == 0xD9 {
            return scans;
        }
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if marker == 0xDA {
            let begin = at;
            while jpeg[at] != 0xFF || matches!(jpeg[at + 1], 0 | 0xD0..=0xD7) {
                at += 1;
            }
            scans.push((begin, at));
        }
    }
}

#[test]
fn data_that_end_early_are_noticed_in_spite_of_an_end_marker() {
    // Large enough to be decoded only once (see data/jpeg.rs), with several kilobytes of data.
    let noise = image::RgbImage::from_fn(160, 120, |x, y| {
        let value = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503))
            .wrapping_mul(x ^ (y << 3) | 1)
            >> 7;
        image::Rgb([value as u8, (value >> 8) as u8, (value >> 16) as u8])
    });
    let large = encoded(&DynamicImage::ImageRgb8(noise), ImageFormat::Jpeg);
    assert!(large.len() > 1 << 14, "{}", large.len());
    let mut tried = 0;
    for (name, jpeg, step, slack) in [
        (
            "baseline",
            fs_err::read(folder().join("baseline.jpg")).unwrap(),
            1,
            2,
        ),
        (
            "progressive",
            fs_err::read(folder().join("progressive.jpg")).unwrap(),
            1,
            2,
        ),
        ("large", large, 997, 2),
    ] {
        assert!(pictures::decode(&jpeg).is_ok(), "{name}");
        for (begin, end) in scans(&jpeg) {
            let end = end.saturating_sub(slack);
            // The last bytes one by one: what is missing there is less than a block.
            let last = end.saturating_sub(40).max(begin);
            for cut in (begin..end).step_by(step).chain(last..end) {
                let mut bytes = jpeg[..cut].to_vec();
                while bytes.last() == Some(&0xFF) {
                    bytes.pop();
                }
                bytes.extend([0xFF, 0xD9]);
                let found = pictures::decode(&bytes);
                assert!(found.is_err(), "{name} cut at {cut} of {begin}..{end}");
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn a_tiff_with_a_palette_is_refused_in_one_clear_line() {
    // A picture of two pixels in one strip, with the entries that a palette needs.
    let entries: [(u16, u16, u32, u32); 9] = [
        (256, 3, 1, 2),    // width
        (257, 3, 1, 1),    // height
        (258, 3, 1, 8),    // bits a sample
        (259, 3, 1, 1),    // no compression
        (262, 3, 1, 3),    // palette
        (273, 4, 1, 8),    // where the pixels are
        (278, 3, 1, 1),    // rows of a strip
        (279, 4, 1, 2),    // bytes of a strip
        (320, 3, 768, 10), // the palette; any bytes will do
    ];
    let mut tiff = b"II*\0".to_vec();
    let directory = 10 + 768 * 2;
    tiff.extend(u32::to_le_bytes(directory));
    tiff.extend([0, 1]);
    tiff.extend([7; 768 * 2]);
    tiff.extend(u16::to_le_bytes(entries.len() as u16));
    for (tag, kind, count, value) in entries {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(count.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend([0; 4]);
    assert_eq!(
        pictures::decode(&tiff).unwrap_err(),
        "a TIFF with a palette, which is not supported: save it as RGB"
    );
    // The same as greyscale can be read: the file is valid.
    let photometric = directory as usize + 2 + 4 * 12 + 8;
    tiff[photometric] = 1;
    assert_eq!(
        pictures::decode(&tiff).unwrap().pixels(),
        [0, 0, 0, 1, 1, 1]
    );
}

#[test]
fn a_picture_that_is_missing_is_called_so() {
    let error = pictures::read(Path::new("no/such.jpg")).unwrap_err();
    assert_eq!(error.to_string(), "no/such.jpg: the picture is missing");
}

#[test]
fn a_side_over_the_limit_is_told_with_both() {
    let long = DynamicImage::ImageLuma8(image::GrayImage::new(40_000, 2));
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Tiff,
        ImageFormat::Pnm,
    ] {
        let problem = pictures::decode(&encoded(&long, format)).unwrap_err();
        assert!(problem.contains("40000 x 2"), "{format:?}: {problem}");
        assert!(problem.contains("32768"), "{format:?}: {problem}");
    }
}
