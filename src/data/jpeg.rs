//! JPEG files: extracts the first picture of a file and checks that its data are complete.
//!
//! Decoders are lenient in ways that hide damage: if the coded data end too early, they continue
//! with zeros and produce grey or smeared rows. They are also strict where others are not: what
//! follows the end marker (the second picture of an MPO file, the video of a motion photo) is not
//! part of the picture. The segments are therefore walked first, and the decoder is given only the
//! picture, followed by a few bytes after its coded data that a complete picture never needs.

use std::cell::Cell;

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::data::picture::check_size;

/// A decoded JPEG.
pub(super) struct Decoded {
    pub width: u32,
    pub height: u32,
    /// R, G, B interleaved, rows from the top, before the orientation is applied.
    pub pixels: Vec<u8>,
    pub orientation: Orientation,
}

const EARLY: &str = "the JPEG's data end before the picture is complete";
const TRUNCATED: &str = "the JPEG is truncated: it has no end marker";

/// Bytes appended to the coded data: eight bytes of all ones, byte-stuffed as in coded data. No
/// JPEG code consists of ones only, so a decoder that needs a code from there fails.
const PADDING: [u8; 16] = [
    0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0,
];

/// How far past the coded data the decoder may read in a complete picture: it reads 4 bytes ahead
/// while it holds fewer than 32 bits, and at most 3 of these come from the padding, where they
/// occupy 6 bytes.
const READ_AHEAD: u64 = 6 + 4;

/// Files up to this size are decoded with two different paddings, and the results must agree. In a
/// larger file, up to 15 bits missing from the last value may go unnoticed, since they do not form
/// a code.
const DECODED_TWICE: usize = 1 << 14;

/// The second padding.
const OTHER_PADDING: [u8; PADDING.len()] = [0x55; PADDING.len()];

/// Decodes the first picture of a file.
///
/// # Errors
/// Returns a description of what is wrong with the picture.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let mut picture = Walk::new(bytes).first_picture()?;
    let decoded = picture.decode()?;
    if bytes.len() <= DECODED_TWICE {
        picture.stream[picture.data_end..][..PADDING.len()].copy_from_slice(&OTHER_PADDING);
        if (picture.decode()).map_or(true, |again| again.pixels != decoded.pixels) {
            return Err(EARLY.into());
        }
    }
    Ok(decoded)
}

/// Finds the frame header at the beginning of a file and checks the size it declares.
///
/// # Errors
/// Returns an error if the picture is empty or exceeds the limits, or if `bytes` end before the
/// frame header does.
pub(super) fn check_frame(bytes: &[u8]) -> Result<(), String> {
    let mut walk = Walk::new(bytes);
    loop {
        match walk.marker()? {
            // If there is no frame, decoding will report what is wrong.
            0xD9 | 0xDA => return Ok(()),
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            marker => {
                let segment = walk.segment(marker)?;
                if is_frame(marker) {
                    return walk.frame(segment);
                }
            }
        }
    }
}

/// Walks over the segments of a whole file without decoding it.
///
/// # Errors
/// Returns an error if the first picture has no end marker, or lacks restart intervals or scans.
pub(super) fn check_segments(bytes: &[u8]) -> Result<(), String> {
    Walk::new(bytes).first_picture().map(drop)
}

/// Returns whether a marker begins a frame header; the others in this range are tables or reserved.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// A picture that is ready to be decoded.
struct Picture {
    /// Segments and coded data, the padding, and the end marker.
    stream: Vec<u8>,
    /// The offset at which the padding begins.
    data_end: usize,
}

impl Picture {
    fn decode(&self) -> Result<Decoded, String> {
        // Arithmetic coding and the like are not damage, only unsupported.
        let failed = |e| match e {
            zune_jpeg::errors::DecodeErrors::Unsupported(kind) => {
                format!("an unsupported kind of JPEG ({kind:?})")
            }
            e => format!("damaged JPEG: {e:?}"),
        };
        let options = DecoderOptions::new_fast()
            .set_strict_mode(true)
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let furthest = Cell::new(0);
        let reader = Reader {
            bytes: ZCursor::new(&self.stream),
            furthest: &furthest,
        };
        let mut decoder = JpegDecoder::new_with_options(reader, options);
        decoder.decode_headers().map_err(failed)?;
        let (width, height) = decoder.dimensions().ok_or("damaged JPEG: it has no size")?;
        check_size(width as u64, height as u64)?;
        let pixels = decoder.decode();
        // An invalid code means damage, or padding read in place of data.
        let limit = self.data_end as u64 + if pixels.is_ok() { READ_AHEAD } else { 0 };
        if furthest.get() > limit {
            return Err(EARLY.into());
        }
        Ok(Decoded {
            width: width as u32,
            height: height as u32,
            pixels: pixels.map_err(failed)?,
            orientation: (decoder.exif())
                .and_then(|chunk| Orientation::from_exif_chunk(chunk))
                .unwrap_or(Orientation::NoTransforms),
        })
    }
}

/// A colour component with its sampling factors.
#[derive(Clone, Copy)]
struct Component {
    id: u8,
    horizontal: usize,
    vertical: usize,
    seen: bool,
}

/// A walk over the segments of a file.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    stream: Vec<u8>,
    size: (usize, usize),
    components: Vec<Component>,
    restart_interval: usize,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut stream = Vec::with_capacity(bytes.len() + PADDING.len() + 2);
        stream.extend([0xFF, 0xD8]);
        Walk {
            bytes,
            at: 2,
            stream,
            size: (0, 0),
            components: Vec::new(),
            restart_interval: 0,
        }
    }

    /// Copies everything that belongs to the first picture.
    fn first_picture(mut self) -> Result<Picture, String> {
        let mut data_end = None;
        loop {
            match self.marker()? {
                0xD9 => break,
                // Misplaced markers without a segment; no decoder needs them.
                0x00 | 0x01 | 0xD0..=0xD8 => {}
                0xDA => {
                    let header = self.segment(0xDA)?;
                    self.coded_data(header)?;
                    data_end = Some(self.stream.len());
                }
                marker => {
                    let segment = self.segment(marker)?;
                    match marker {
                        0xDD => {
                            let [high, low, ..] = segment else {
                                return Err("damaged JPEG: a segment is too short".into());
                            };
                            self.restart_interval = usize::from(u16::from_be_bytes([*high, *low]));
                        }
                        marker if is_frame(marker) => self.frame(segment)?,
                        _ => {}
                    }
                }
            }
        }
        let data_end = data_end.ok_or("the JPEG contains no picture: it ends after its header")?;
        if self.components.iter().any(|component| !component.seen) {
            return Err(EARLY.into());
        }
        self.stream.truncate(data_end);
        self.stream.extend(PADDING);
        self.stream.extend([0xFF, 0xD9]);
        Ok(Picture {
            stream: self.stream,
            data_end,
        })
    }

    /// Returns the next marker, skipping anything before it, as all decoders do.
    fn marker(&mut self) -> Result<u8, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut at = memchr::memchr(0xFF, rest).ok_or(TRUNCATED)?;
        while rest.get(at) == Some(&0xFF) {
            at += 1;
        }
        let marker = *rest.get(at).ok_or(TRUNCATED)?;
        self.at += at + 1;
        Ok(marker)
    }

    /// Copies the segment of a marker and returns its content.
    fn segment(&mut self, marker: u8) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.first_chunk().ok_or(TRUNCATED)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let segment = rest.get(..length).ok_or(TRUNCATED)?;
        let content = (segment.get(2..)).ok_or("damaged JPEG: a segment of no length")?;
        self.at += length;
        self.stream.extend([0xFF, marker]);
        self.stream.extend_from_slice(segment);
        Ok(content)
    }

    fn frame(&mut self, segment: &[u8]) -> Result<(), String> {
        let short = || "damaged JPEG: its frame header is too short".to_owned();
        let [_, h0, h1, w0, w1, count, components @ ..] = segment else {
            return Err(short());
        };
        let side = |high: &u8, low: &u8| usize::from(u16::from_be_bytes([*high, *low]));
        self.size = (side(w0, w1), side(h0, h1));
        check_size(self.size.0 as u64, self.size.1 as u64)?;
        let components = components
            .get(..3 * usize::from(*count))
            .ok_or_else(short)?;
        self.components = (components.chunks_exact(3))
            .map(|component| Component {
                id: component[0],
                horizontal: usize::from(component[1] >> 4).max(1),
                vertical: usize::from(component[1] & 15).max(1),
                seen: false,
            })
            .collect();
        Ok(())
    }

    /// Copies the coded data of a scan and checks that no restart interval is missing.
    fn coded_data(&mut self, header: &[u8]) -> Result<(), String> {
        let count = usize::from(header.first().copied().unwrap_or_default());
        let chosen: Vec<u8> = (header.iter().skip(1).step_by(2).take(count).copied()).collect();
        for component in &mut self.components {
            component.seen |= chosen.contains(&component.id);
        }
        let (begin, mut restarts) = (self.at, 0);
        let end = loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let at = self.at + memchr::memchr(0xFF, rest).ok_or(TRUNCATED)?;
            match self.bytes.get(at + 1).ok_or(TRUNCATED)? {
                0x00 => self.at = at + 2,
                0xFF => self.at = at + 1,
                0xD0..=0xD7 => {
                    restarts += 1;
                    self.at = at + 2;
                }
                _ => break at,
            }
        };
        self.at = end;
        let mut data = &self.bytes[begin..end];
        while let [rest @ .., 0xFF] = data {
            data = rest;
        }
        self.stream.extend_from_slice(data);
        match self.intervals(&chosen) {
            Some(expected) if restarts + 1 < expected => Err(format!(
                "the JPEG's data end after {} of {expected} parts",
                restarts + 1
            )),
            _ => Ok(()),
        }
    }

    /// Returns the number of restart intervals in a scan of the components `chosen`.
    fn intervals(&self, chosen: &[u8]) -> Option<usize> {
        let most = |side: fn(&Component) -> usize| self.components.iter().map(side).max();
        let (most_h, most_v) = (most(|c| c.horizontal)?, most(|c| c.vertical)?);
        // A scan of one component proceeds block by block; other scans proceed by units of all
        // components.
        let (h, v) = match chosen {
            [id] => {
                let component = self.components.iter().find(|c| c.id == *id)?;
                (component.horizontal, component.vertical)
            }
            _ => (1, 1),
        };
        let across = (self.size.0 * h).div_ceil(8 * most_h);
        let down = (self.size.1 * v).div_ceil(8 * most_v);
        (self.restart_interval > 0).then(|| (across * down).div_ceil(self.restart_interval))
    }
}

/// A cursor that records how far the decoder has read in units of four bytes, which is how it reads
/// coded data but not how it looks for markers.
struct Reader<'a> {
    bytes: ZCursor<&'a [u8]>,
    furthest: &'a Cell<u64>,
}

impl ZByteReaderTrait for Reader<'_> {
    #[inline(always)]
    fn read_byte_no_error(&mut self) -> u8 {
        self.bytes.read_byte_no_error()
    }

    #[inline(always)]
    fn read_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.read_exact_bytes(buffer)?;
        if buffer.len() == 4 {
            let position = self.bytes.z_position()?;
            self.furthest.set(self.furthest.get().max(position));
        }
        Ok(())
    }

    #[inline(always)]
    fn read_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.read_bytes(buffer)
    }

    fn peek_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.peek_bytes(buffer)
    }

    fn peek_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.peek_exact_bytes(buffer)
    }

    #[inline(always)]
    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        self.bytes.z_seek(from)
    }

    #[inline(always)]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        self.bytes.is_eof()
    }

    #[inline(always)]
    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        self.bytes.z_position()
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        self.bytes.read_remaining(sink)
    }
}
