//! Where pictures come from (files or the embedded set), and how they are decoded to 8-bit RGB.

use std::collections::BTreeSet;
use std::io::{BufRead, Cursor, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use crate::data::picture::{Format, MAX_PIXELS, Rgb8, check_size, format_names};
use crate::data::source::PictureSource;
use crate::data::{content, jpeg, shapes};
use crate::error::{Error, Result};

/// Maximum size of a picture file in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 28;

/// Where the pictures of a label table come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ImageRoot {
    /// Files: an image's name is a path relative to this folder, which may lead into a tar archive.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The embedded set, see [`shapes`]: an image's name is `pool/000123` or `test/000042`.
    Shapes {
        /// The seed of the scenes.
        seed: u64,
        /// Side of the square pictures, in pixels.
        size: u32,
    },
}

impl ImageRoot {
    /// Decodes or draws the picture `name`.
    ///
    /// # Errors
    /// Returns an error that names the file if it is missing, truncated, corrupt, not a picture, or
    /// larger than the limits [`MAX_SIDE`](crate::data::picture::MAX_SIDE), [`MAX_PIXELS`] and
    /// [`MAX_FILE_BYTES`].
    pub fn decode(&self, name: &str) -> Result<Rgb8> {
        match self {
            ImageRoot::Folder { path } => read(&path.join(name)),
            ImageRoot::Shapes { seed, size } => shapes::draw(*seed, name, *size),
        }
    }

    /// Returns the hash of the file of the picture `name`, in hexadecimal; `None` if it is drawn or
    /// missing.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn hash(&self, name: &str) -> Result<Option<String>> {
        match self.file(name) {
            Some(path) if PictureSource::find(&path)?.is_some() => {
                Ok(Some(blake3::hash(&read_bytes(&path)?).to_hex().to_string()))
            }
            _ => Ok(None),
        }
    }

    /// Returns the file of the picture `name`, or `None` if pictures are drawn.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        match self {
            ImageRoot::Folder { path } => Some(path.join(name)),
            ImageRoot::Shapes { .. } => None,
        }
    }
}

/// What to do with a picture that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadImage {
    /// Stop with an error that names the file.
    #[default]
    Error,
    /// Leave it out, told once; see [`crate::data::loader`].
    Skip,
}

/// The files of bad pictures that have already been reported. Shared by the check before training
/// and all loaders of a split, so that each is reported only once.
#[derive(Debug, Clone, Default)]
pub struct ToldPictures(Arc<Mutex<BTreeSet<PathBuf>>>);

impl ToldPictures {
    /// Records that a file is being reported; returns false if it was reported before.
    pub fn add(&self, file: PathBuf) -> bool {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(file)
    }
}

/// What has been reported is not part of a split's value, so any two are equal.
impl PartialEq for ToldPictures {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Reads and decodes a picture file in one of the [`FORMATS`](crate::data::picture::FORMATS). The
/// format is detected from the content, not the name. If a file contains several pictures, the
/// first is used; a stored orientation is applied, and transparency is dropped. `path` may lead
/// into a tar archive.
pub fn read(path: &Path) -> Result<Rgb8> {
    let bytes = read_bytes(path)?;
    decode(&bytes).map_err(|problem| {
        let remedy = match Format::of(&bytes) {
            Some(_) => None,
            None => content::of(&bytes).and_then(|found| found.remedy),
        };
        bad(path, problem, remedy)
    })
}

/// Reads the bytes of the picture at `path`, see [`read`].
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let Some(source) = PictureSource::find(path)? else {
        return Err(Error::file(path, "the picture is missing").hint(
            "restore the picture, or pass `--on-bad-image skip` to continue without such pictures",
        ));
    };
    let bytes = source.read(MAX_FILE_BYTES)?;
    bytes.ok_or_else(|| bad(path, too_large(source.stamp), None))
}

/// Describes a file of more than [`MAX_FILE_BYTES`] bytes.
pub(super) fn too_large(size: u64) -> String {
    format!("the file has {size} bytes, more than the limit of {MAX_FILE_BYTES}")
}

/// Describes a file that begins with `bytes` and is not a picture.
pub(super) fn unknown(bytes: &[u8]) -> String {
    let expected = format_names();
    match content::of(bytes) {
        Some(found) => format!(
            "the file is {}, expected a picture ({expected})",
            found.what
        ),
        None => format!("not a picture, expected {expected}"),
    }
}

fn bad(path: &Path, problem: String, remedy: Option<&str>) -> Error {
    let remedy = remedy.unwrap_or("repair or remove the picture");
    Error::file(path, problem).hint(format_args!(
        "{remedy}, or pass `--on-bad-image skip` to continue without such pictures"
    ))
}

/// Decodes the bytes of a picture file, see [`read`]. The error describes what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Rgb8, String> {
    let Some(format) = Format::of(bytes) else {
        return Err(unknown(bytes));
    };
    match format.decoder {
        ImageFormat::Jpeg => decode_jpeg(bytes),
        ImageFormat::WebP => {
            check_webp_length(bytes, bytes.len() as u64)?;
            decode_other(bytes, format)
        }
        _ => decode_other(bytes, format),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Rgb8, String> {
    let jpeg::Decoded {
        width,
        height,
        pixels,
        orientation,
    } = jpeg::decode(bytes)?;
    if orientation == Orientation::NoTransforms {
        Rgb8::new(width, height, pixels)
    } else {
        RgbImage::from_raw(width, height, pixels).and_then(|image| {
            let mut image = DynamicImage::ImageRgb8(image);
            image.apply_orientation(orientation);
            Rgb8::from_dynamic(image)
        })
    }
    .ok_or_else(|| "damaged JPEG: the pixels do not fill the picture".into())
}

/// Rejects a WebP file of `size` bytes that is shorter than its header `head` declares: the decoder
/// treats missing bytes of the last chunk as zeros.
pub(super) fn check_webp_length(head: &[u8], size: u64) -> Result<(), String> {
    match head {
        [_, _, _, _, a, b, c, d, ..]
            if size >= u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + 8 =>
        {
            Ok(())
        }
        _ => Err("the WebP is truncated: it is shorter than its header says".into()),
    }
}

fn decode_other(bytes: &[u8], format: Format) -> Result<Rgb8, String> {
    let mut decoder = open(Cursor::new(bytes), format)?;
    let name = format.name;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| failure(name, e))?;
    image.apply_orientation(orientation);
    Rgb8::from_dynamic(image).ok_or_else(|| format!("damaged {name}: it has no pixels"))
}

/// Reads only the header of a picture in a format other than JPEG. The errors are those of
/// [`decode`].
pub(super) fn check_header(reader: impl BufRead + Seek, format: Format) -> Result<(), String> {
    open(reader, format).map(drop)
}

/// Creates a decoder that has read the header and checked the picture's size.
fn open<'a>(
    bytes: impl BufRead + Seek + 'a,
    format: Format,
) -> Result<impl ImageDecoder + 'a, String> {
    let name = format.name;
    let mut limits = Limits::no_limits();
    // A pixel of 16 bits per channel with alpha takes 8 bytes; doubled, since some decoders make a
    // copy.
    limits.max_alloc = Some(MAX_PIXELS * 16);
    let mut reader = ImageReader::with_format(bytes, format.decoder);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| failure(name, e))?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(format!(
            "a {name} with floating-point samples, whose range is unknown: save it with 8 or 16 bits"
        ));
    }
    Ok(decoder)
}

/// Describes why a decoder rejected a picture.
fn failure(name: &str, error: image::ImageError) -> String {
    match error {
        image::ImageError::Unsupported(e) => {
            let reason = e.to_string();
            // The decoder reports this by an identifier from its source code.
            match reason.contains("RGBPalette") {
                true => format!("a {name} with a palette, which is not supported: save it as RGB"),
                false => format!("an unsupported kind of {name}: {reason}"),
            }
        }
        image::ImageError::Limits(_) => {
            format!("decoding the {name} would take more memory than its size allows")
        }
        e => format!("damaged {name}: {e}"),
    }
}
