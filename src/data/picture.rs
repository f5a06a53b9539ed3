//! Pictures in memory, and the formats they are read from.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use image::{DynamicImage, ImageFormat};

use crate::error::{Error, Result};
use crate::ops::MappedFile;

/// Maximum width and height of a picture, in pixels.
pub const MAX_SIDE: u32 = 1 << 15;
/// Maximum number of pixels of a picture: 300 MB as RGB. Larger ones are treated as decompression
/// bombs.
pub const MAX_PIXELS: u64 = 100_000_000;
/// A format of picture files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its usual name.
    pub name: &'static str,
    /// File name extensions, in lower case.
    pub endings: &'static [&'static str],
    /// The decoder's name for it.
    pub(super) decoder: ImageFormat,
}

impl Format {
    const fn new(
        name: &'static str,
        endings: &'static [&'static str],
        decoder: ImageFormat,
    ) -> Self {
        Format {
            name,
            endings,
            decoder,
        }
    }

    /// Detects the format from the bytes of a file; `None` if it is none of [`FORMATS`].
    pub fn of(bytes: &[u8]) -> Option<Format> {
        let found = image::guess_format(bytes).ok()?;
        FORMATS.into_iter().find(|format| format.decoder == found)
    }
}

/// The supported formats. The format of a file is detected from its bytes; the extensions only
/// determine which files of a folder are pictures.
pub const FORMATS: [Format; 7] = [
    Format::new(
        "JPEG",
        &["jpg", "jpeg", "jfif", "jpe", "mpo"],
        ImageFormat::Jpeg,
    ),
    Format::new("PNG", &["png", "apng"], ImageFormat::Png),
    Format::new("WebP", &["webp"], ImageFormat::WebP),
    Format::new("BMP", &["bmp", "dib"], ImageFormat::Bmp),
    Format::new("TIFF", &["tif", "tiff"], ImageFormat::Tiff),
    Format::new("GIF", &["gif"], ImageFormat::Gif),
    Format::new("PNM", &["ppm", "pgm", "pbm", "pnm"], ImageFormat::Pnm),
];

/// Returns the file name extensions of pictures, in lower case.
pub fn endings() -> impl Iterator<Item = &'static str> {
    FORMATS
        .into_iter()
        .flat_map(|format| format.endings)
        .copied()
}

/// Returns whether a file name has the extension of a picture.
pub fn has_picture_ending(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|e| e.to_str());
    ending.is_some_and(|e| endings().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Returns the names of the formats as a readable list.
pub(super) fn format_names() -> String {
    FORMATS.map(|format| format.name).join(", ")
}

/// A picture of 8 bits per channel: R, G, B interleaved, rows from the top.
#[derive(Debug, Clone)]
pub struct Rgb8 {
    width: u32,
    height: u32,
    pixels: Pixels,
}

/// `height * width * 3` bytes; a file may have more bytes after them.
#[derive(Debug, Clone)]
enum Pixels {
    Own(Vec<u8>),
    /// Copied on write.
    File(Arc<MappedFile>),
}

/// Returns the number of bytes of the pixels, or `None` if it overflows.
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
    /// Creates a picture from its pixels. Returns `None` if a side is 0 or `pixels` does not have
    /// `width * height * 3` bytes.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let whole = bytes_of(width, height)?;
        (whole > 0 && whole == pixels.len()).then_some(Rgb8 {
            width,
            height,
            pixels: Pixels::Own(pixels),
        })
    }

    /// Creates a picture whose pixels are the first `width * height * 3` bytes of a file. Returns
    /// `None` if a side is 0 or the file is shorter.
    pub fn mapped(width: u32, height: u32, file: MappedFile) -> Option<Self> {
        let whole = bytes_of(width, height)?;
        (whole > 0 && whole <= file.bytes().len()).then(|| Rgb8 {
            width,
            height,
            pixels: Pixels::File(Arc::new(file)),
        })
    }

    /// Returns whether the pixels are in a memory-mapped file, whose memory the system can reclaim.
    pub fn is_mapped(&self) -> bool {
        matches!(self.pixels, Pixels::File(_))
    }

    /// Creates a picture of a single colour. A side of 0 is treated as 1.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Rgb8 {
            width,
            height,
            pixels: Pixels::Own(colour.repeat(width as usize * height as usize)),
        }
    }

    /// Returns the width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the pixels, `height * width * 3` bytes.
    pub fn pixels(&self) -> &[u8] {
        match &self.pixels {
            Pixels::Own(pixels) => pixels,
            Pixels::File(file) => &file.bytes()[..self.width as usize * self.height as usize * 3],
        }
    }

    /// Returns the pixels mutably, copying them first if they are mapped from a file.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        if self.is_mapped() {
            self.pixels = Pixels::Own(self.pixels().to_vec());
        }
        match &mut self.pixels {
            Pixels::Own(pixels) => pixels,
            Pixels::File(_) => &mut [],
        }
    }

    /// Returns the pixels of row `y`, `width * 3` bytes.
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.width as usize * 3;
        &self.pixels()[y as usize * stride..][..stride]
    }

    /// Returns the part of `width` x `height` pixels starting at (`left`, `top`), clipped to the
    /// picture.
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

    /// Converts a decoder's output, dropping transparency; `None` if it has no pixels.
    pub(super) fn from_dynamic(image: DynamicImage) -> Option<Self> {
        let image = image.into_rgb8();
        let (width, height) = image.dimensions();
        Rgb8::new(width, height, image.into_raw())
    }
}

/// Returns an error if a picture of this size is too large or empty.
pub(super) fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("a picture of {width} x {height} pixels is empty"));
    }
    if width > u64::from(MAX_SIDE) || height > u64::from(MAX_SIDE) || width * height > MAX_PIXELS {
        return Err(format!(
            "the picture has {width} x {height} pixels, more than the limit of {MAX_SIDE} per side and {MAX_PIXELS} in all"
        ));
    }
    Ok(())
}
