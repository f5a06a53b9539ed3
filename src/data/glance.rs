//! Quick check of a picture file, based on its first and last bytes.
//!
//! Nothing is decoded unless the end looks wrong, so that a whole data set can be checked before
//! training begins. A file that passes may still be damaged in the middle.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use image::ImageFormat;

use crate::data::image::{
    MAX_FILE_BYTES, check_header, check_webp_length, decode, too_large, unknown,
};
use crate::data::jpeg;
use crate::data::picture::Format;
use crate::data::source::{Part, PictureSource};

/// The problem with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The file does not exist.
    Missing,
    /// The file is empty.
    Empty,
    /// Decoding would fail, with this message.
    Unreadable(String),
}

/// Bytes read from the beginning, enough for the headers of most files in one call.
const HEAD: usize = 4096;

/// Bytes read from the end, enough for the end markers of PNG and JPEG.
const TAIL: usize = 12;

/// Checks the file of a picture: whether it is a picture of a supported format and size and, for
/// JPEG, PNG and WebP, whether it is complete at the end.
pub(super) fn glance(path: &Path) -> Result<(), Flaw> {
    let unreadable = |e: std::io::Error| Flaw::Unreadable(format!("cannot be read: {e}"));
    let source = match PictureSource::find(path) {
        Ok(Some(source)) => source,
        Ok(None) => return Err(Flaw::Missing),
        // A file without permission to access it, or a damaged archive.
        Err(problem) => return Err(Flaw::Unreadable(problem.to_string())),
    };
    let mut file = source
        .open()
        .map_err(|problem| Flaw::Unreadable(problem.to_string()))?;
    let size = file.length;
    if size == 0 {
        return Err(Flaw::Empty);
    }
    if size > MAX_FILE_BYTES {
        return Err(Flaw::Unreadable(too_large(size)));
    }
    let mut head = Vec::with_capacity(HEAD);
    read_up_to(&mut file, HEAD, &mut head).map_err(unreadable)?;
    let Some(format) = Format::of(&head) else {
        return Err(Flaw::Unreadable(unknown(&head)));
    };
    match format.decoder {
        ImageFormat::Jpeg => glance_at_jpeg(&mut file, &mut head, size),
        _ => glance_at_other(file, &head, size, format),
    }
    .map_err(|problem| match problem {
        Problem::Io(e) => unreadable(e),
        Problem::Content(problem) => Flaw::Unreadable(problem),
    })
}

enum Problem {
    Io(std::io::Error),
    Content(String),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Problem::Io(error)
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Problem::Content(problem)
    }
}

/// Extends `bytes` to a length of `size`, or to the end of the file.
fn read_up_to(file: &mut Part, size: usize, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let missing = size.saturating_sub(bytes.len()) as u64;
    file.take(missing).read_to_end(bytes).map(drop)
}

/// Reads the last bytes of a file.
fn tail(file: &mut Part, size: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL as u64)))?;
    let mut tail = Vec::with_capacity(TAIL);
    read_up_to(file, TAIL, &mut tail)?;
    Ok(tail)
}

fn glance_at_jpeg(file: &mut Part, head: &mut Vec<u8>, size: u64) -> Result<(), Problem> {
    // Cameras put a thumbnail and a profile before the frame header; the larger reads include
    // these.
    while let Err(problem) = jpeg::check_frame(head) {
        if head.len() as u64 >= size {
            return Err(problem.into());
        }
        let before = head.len();
        read_up_to(file, 8 * before, head)?;
        if head.len() == before {
            return Err(problem.into());
        }
    }
    if tail(file, size)?.ends_with(&[0xFF, 0xD9]) {
        return Ok(());
    }
    // There may be data after the picture, or the picture has no end.
    file.rewind()?;
    head.clear();
    read_up_to(file, size as usize, head)?;
    Ok(jpeg::check_segments(head)?)
}

fn glance_at_other(mut file: Part, head: &[u8], size: u64, format: Format) -> Result<(), Problem> {
    if format.decoder == ImageFormat::WebP {
        check_webp_length(head, size)?;
    }
    file.rewind()?;
    let mut reader = BufReader::with_capacity(HEAD, file);
    check_header(&mut reader, format)?;
    let mut file = reader.into_inner();
    if format.decoder == ImageFormat::Png
        && !tail(&mut file, size)?.windows(4).any(|w| w == b"IEND")
    {
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        decode(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::picture::Rgb8;

    fn pictures() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input/pictures")
    }

    #[test]
    fn every_good_picture_passes_and_no_other_file_that_lacks_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.jpg");
        let flaw = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            glance(&path).err()
        };
        let mut seen = 0;
        for entry in fs_err::read_dir(pictures()).unwrap() {
            let bytes = fs_err::read(entry.unwrap().path()).unwrap();
            assert_eq!(flaw(&bytes), None);
            // Half a file is detected if its format has an end marker, and so is any part of a
            // header.
            let format = Format::of(&bytes).unwrap().decoder;
            if matches!(
                format,
                ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP
            ) {
                assert!(flaw(&bytes[..bytes.len() / 2]).is_some());
            }
            assert!(flaw(&bytes[..10]).is_some());
            seen += 1;
        }
        assert!(seen > 10, "{seen}");

        assert_eq!(glance(&folder.path().join("no.jpg")), Err(Flaw::Missing));
        assert_eq!(glance(folder.path()), Err(Flaw::Missing));
        assert_eq!(flaw(b""), Some(Flaw::Empty));
        let told = |bytes: &[u8], words: &str| match flaw(bytes) {
            Some(Flaw::Unreadable(problem)) => assert!(problem.contains(words), "{problem}"),
            other => panic!("{other:?}, expected {words}"),
        };
        told(b"<!DOCTYPE html><title>403</title>", "HTML page");
        told(&[0; 5000], "nothing but zeros");
        told(&[1, 2, 3, 4], "not a picture");
    }

    #[test]
    fn a_size_over_the_limit_is_told_from_the_header_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.png");
        let long = Rgb8::filled(40_000, 1, [1, 2, 3]);
        fs_err::write(&path, long.to_png().unwrap()).unwrap();
        let Err(Flaw::Unreadable(problem)) = glance(&path) else {
            panic!("passed")
        };
        assert!(problem.contains("40000 x 1"), "{problem}");
    }

    #[test]
    fn a_jpeg_whose_header_is_long_or_that_has_a_tail_passes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("camera.jpg");
        let jpeg = fs_err::read(pictures().join("baseline.jpg")).unwrap();
        let mut camera = jpeg[..2].to_vec();
        for _ in 0..3 {
            camera.extend([0xFF, 0xE1, 0xFF, 0xFF]);
            camera.extend([7; 0xFFFD]);
        }
        camera.extend(&jpeg[2..]);
        camera.extend(b"a film follows");
        fs_err::write(&path, &camera).unwrap();
        assert_eq!(glance(&path), Ok(()));
        // The same without the frame header.
        fs_err::write(&path, &camera[..3 * 0xFFFF]).unwrap();
        assert!(matches!(glance(&path), Err(Flaw::Unreadable(_))));
    }
}
