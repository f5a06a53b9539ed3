//! Pictures from files or from the embedded set, decoded to 8-bit RGB.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::data::shapes;
use crate::error::{Error, Result};
use crate::ops::MappedFile;

/// Widest and highest picture that is decoded, in pixels.
pub const MAX_SIDE: u32 = 1 << 15;
/// Most pixels of a picture that is decoded: 300 MB as RGB. Larger ones are taken for
/// decompression bombs.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest picture file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 28;

/// A picture of 8 bits a channel, R, G, B interleaved, rows from the top.
#[derive(Debug, Clone)]
pub struct Rgb8 {
    width: u32,
    height: u32,
    pixels: Pixels,
}

/// `height * width * 3` bytes, or more of a file that begins with them.
#[derive(Debug, Clone)]
enum Pixels {
    Own(Vec<u8>),
    /// Copied when they are to be written.
    File(Arc<MappedFile>),
}

/// Bytes of the pixels, unless there are too many of them to be counted.
fn bytes_of(width: u32, height: u32) -> Option<usize> {
    (width as usize)
        .checked_mul(height as usize)?
        .checked_mul(3)
}

impl PartialEq for Rgb8 {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, self.pixels()) == (other.width, other.height, other.pixels())
    }
}

impl Eq for Rgb8 {}

impl Rgb8 {
    /// A picture from its pixels: `pixels` holds `width * height * 3` bytes, or the result is
    /// `None`. A side may not be 0.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let whole = bytes_of(width, height)?;
        (whole > 0 && whole == pixels.len()).then_some(Rgb8 {
            width,
            height,
            pixels: Pixels::Own(pixels),
        })
    }

    /// A picture whose pixels are the first `width * height * 3` bytes of a file. `None` if a side
    /// is 0 or the file is shorter.
    pub fn mapped(width: u32, height: u32, file: MappedFile) -> Option<Self> {
        let whole = bytes_of(width, height)?;
        (whole > 0 && whole <= file.bytes().len()).then(|| Rgb8 {
            width,
            height,
            pixels: Pixels::File(Arc::new(file)),
        })
    }

    /// Whether the pixels lie in a file that is mapped into memory: the system can take their
    /// memory back.
    pub fn is_mapped(&self) -> bool {
        matches!(self.pixels, Pixels::File(_))
    }

    /// A picture of one colour. A side of 0 is taken as 1.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Rgb8 {
            width,
            height,
            pixels: Pixels::Own(colour.repeat(width as usize * height as usize)),
        }
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `height * width * 3` bytes.
    pub fn pixels(&self) -> &[u8] {
        match &self.pixels {
            Pixels::Own(pixels) => pixels,
            Pixels::File(file) => &file.bytes()[..self.width as usize * self.height as usize * 3],
        }
    }

    /// The pixels, to write.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        if self.is_mapped() {
            self.pixels = Pixels::Own(self.pixels().to_vec());
        }
        match &mut self.pixels {
            Pixels::Own(pixels) => pixels,
            Pixels::File(_) => &mut [],
        }
    }

    /// The pixels of row `y`, `width * 3` bytes.
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.width as usize * 3;
        &self.pixels()[y as usize * stride..][..stride]
    }

    /// The part of `width` x `height` pixels from (`left`, `top`) on, cut to what lies within.
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Rgb8 {
        let (left, top) = (left.min(self.width - 1), top.min(self.height - 1));
        let width = width.clamp(1, self.width - left);
        let height = height.clamp(1, self.height - top);
        let columns = left as usize * 3..(left + width) as usize * 3;
        Rgb8 {
            width,
            height,
            pixels: Pixels::Own(
                (top..top + height)
                    .flat_map(|y| &self.row(y)[columns.clone()])
                    .copied()
                    .collect(),
            ),
        }
    }

    /// Mirrors left and right.
    pub fn mirror(&mut self) {
        let stride = self.width as usize * 3;
        for line in self.pixels_mut().chunks_exact_mut(stride) {
            let (pixels, _) = line.as_chunks_mut::<3>();
            pixels.reverse();
        }
    }

    /// Encodes the picture as PNG.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        image::write_buffer_with_format(
            &mut Cursor::new(&mut bytes),
            self.pixels(),
            self.width,
            self.height,
            image::ColorType::Rgb8,
            ImageFormat::Png,
        )
        .map_err(|e| Error::Io(std::io::Error::other(e)))?;
        Ok(bytes)
    }

    fn from_dynamic(image: DynamicImage) -> Option<Self> {
        let image = image.into_rgb8();
        let (width, height) = image.dimensions();
        Rgb8::new(width, height, image.into_raw())
    }
}

/// Where the pictures of a label table come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ImageRoot {
    /// Files: an image's name is a path relative to this folder.
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
    /// Decodes, or draws, the picture `name`.
    ///
    /// # Errors
    /// Names the file if it is missing, truncated, corrupt, not a picture, or larger than the
    /// limits [`MAX_SIDE`], [`MAX_PIXELS`] and [`MAX_FILE_BYTES`].
    pub fn decode(&self, name: &str) -> Result<Rgb8> {
        match self {
            ImageRoot::Folder { path } => read(&path.join(name)),
            ImageRoot::Shapes { seed, size } => shapes::draw(*seed, name, *size),
        }
    }

    /// The file of the picture `name`; `None` where it is drawn.
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
    /// Leave it out, with one warning a picture; see [`crate::data::loader`].
    Skip,
}

impl std::str::FromStr for OnBadImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(OnBadImage::Error),
            "skip" => Ok(OnBadImage::Skip),
            _ => Err(format!("`{text}` is neither `error` nor `skip`")),
        }
    }
}

/// Reads and decodes a picture file: JPEG (baseline, progressive, grey, CMYK), PNG, WebP or BMP.
/// The format is told from the content, not from the name. An EXIF orientation is applied,
/// transparency is dropped.
pub fn read(path: &Path) -> Result<Rgb8> {
    let size = fs_err::metadata(path)?.len();
    if size > MAX_FILE_BYTES {
        return Err(Error::file(
            path,
            format_args!(
                "the file has {size} bytes, more than the {MAX_FILE_BYTES} of the largest picture that is read"
            ),
        ));
    }
    decode(&fs_err::read(path)?).map_err(|problem| {
        Error::file(path, problem).hint(
            "mend or remove the picture, or pass `--on-bad-image skip` to go on without such pictures",
        )
    })
}

/// Decodes the bytes of a picture file, see [`read`]. The error says what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Rgb8, String> {
    if bytes.is_empty() {
        return Err("the file is empty, expected a picture".into());
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => decode_jpeg(bytes),
        Ok(ImageFormat::WebP) if !holds_its_length(bytes) => {
            Err("the WebP is truncated: it is shorter than its header says".into())
        }
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => {
            decode_other(bytes, format)
        }
        Ok(other) => Err(format!(
            "a picture of format {other:?}, expected JPEG, PNG, WebP or BMP"
        )),
        Err(_) => Err("not a picture, expected JPEG, PNG, WebP or BMP".into()),
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("a picture of {width} x {height} pixels is empty"));
    }
    if width > u64::from(MAX_SIDE) || height > u64::from(MAX_SIDE) || width * height > MAX_PIXELS {
        return Err(format!(
            "a picture of {width} x {height} pixels is larger than the limit of {MAX_SIDE} a side and {MAX_PIXELS} in all"
        ));
    }
    Ok(())
}

fn decode_jpeg(bytes: &[u8]) -> Result<Rgb8, String> {
    // The entropy decoder does not miss the last bytes of a picture; the end marker does.
    if !ends_properly(bytes) {
        return Err("the JPEG is truncated: it has no end marker".into());
    }
    let corrupt = |e| format!("corrupt JPEG: {e:?}");
    let options = DecoderOptions::new_fast()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE as usize)
        .set_max_height(MAX_SIDE as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(corrupt)?;
    let (width, height) = (decoder.dimensions()).ok_or("corrupt JPEG: it has no size")?;
    check_size(width as u64, height as u64)?;
    let pixels = decoder.decode().map_err(corrupt)?;
    let orientation = (decoder.exif())
        .and_then(|chunk| Orientation::from_exif_chunk(chunk))
        .unwrap_or(Orientation::NoTransforms);
    let (width, height) = (width as u32, height as u32);
    if orientation == Orientation::NoTransforms {
        Rgb8::new(width, height, pixels)
    } else {
        RgbImage::from_raw(width, height, pixels).and_then(|image| {
            let mut image = DynamicImage::ImageRgb8(image);
            image.apply_orientation(orientation);
            Rgb8::from_dynamic(image)
        })
    }
    .ok_or_else(|| "corrupt JPEG: the pixels do not fill the picture".into())
}

/// True if an end-of-image marker follows the last start-of-scan marker. Within coded data an
/// 0xFF byte is always escaped, and an embedded thumbnail lies before the first scan.
fn ends_properly(bytes: &[u8]) -> bool {
    for pair in bytes.windows(2).rev() {
        match pair {
            [0xFF, 0xD9] => return true,
            [0xFF, 0xDA] => return false,
            _ => {}
        }
    }
    false
}

/// True if a RIFF file is as long as its header says: the WebP decoder takes missing bytes of the
/// last chunk for zeros.
fn holds_its_length(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, _, _, a, b, c, d, ..] => {
            bytes.len() as u64 >= u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + 8
        }
        _ => false,
    }
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<Rgb8, String> {
    let corrupt = |e: image::ImageError| format!("corrupt {format:?}: {e}");
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    // 16 bits a channel with alpha are 8 bytes a pixel.
    limits.max_alloc = Some(MAX_PIXELS * 8);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    image.apply_orientation(orientation);
    Rgb8::from_dynamic(image).ok_or_else(|| format!("corrupt {format:?}: it has no pixels"))
}
