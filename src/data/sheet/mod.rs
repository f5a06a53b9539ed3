//! A contact sheet: pictures as the network sees them, with captions.

use crate::data::augment::{InputConfig, Plan, Transformer};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture::Rgb8;
use crate::error::Result;
use crate::rng::Stream;

mod font;

/// Pixels between tiles.
const GAP: u32 = 6;
/// Pixels a dot of the captions.
const DOT: u32 = 1;
/// Lines of a caption: the name, and the labels in two.
const LINES: u32 = 3;
const LINE: u32 = (font::HEIGHT + 2) * DOT;
const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [20; 3];

/// Which pictures a sheet shows, and how.
#[derive(Debug, Clone)]
pub struct SheetOptions {
    /// Image indices, one tile each (and one more for each augmented copy).
    pub images: Vec<u32>,
    /// Augmented copies beside each picture, as training would see it in the first epochs.
    pub copies: usize,
    /// Tiles a row, at least 1. With copies, a picture and its copies stay in one row.
    pub columns: usize,
    /// The seed of the augmentation.
    pub seed: u64,
}

/// Draws the sheet. A picture that cannot be decoded is a tile that says so.
///
/// # Errors
/// `config` is out of its range.
pub fn draw(
    table: &LabelTable,
    root: &ImageRoot,
    config: &InputConfig,
    options: &SheetOptions,
) -> Result<Rgb8> {
    config.check()?;
    let group = options.copies + 1;
    let columns = (options.columns.max(group) / group) * group;
    let tiles = options.images.len() * group;
    let rows = tiles.div_ceil(columns).max(1);
    // Captions need room also under small pictures.
    let side = config.size;
    let tile = side.max(96);
    let (step_x, step_y) = (tile + GAP, side + LINES * LINE + GAP);
    let mut sheet = Rgb8::filled(
        columns as u32 * step_x + GAP,
        rows as u32 * step_y + GAP,
        PAPER,
    );
    let mut transformer = Transformer::new(config);
    let mut input = vec![0.0; transformer.input_len()];
    for (i, &image) in options.images.iter().enumerate() {
        let Some(name) = table.images().get(image as usize) else {
            continue;
        };
        let picture = root.decode(name);
        for copy in 0..group {
            let at = i * group + copy;
            let left = GAP + (at % columns) as u32 * step_x;
            let top = GAP + (at / columns) as u32 * step_y;
            let mut caption = [tail(name, tile), String::new(), String::new()];
            match &picture {
                Ok(picture) if copy == 0 => transformer.test(picture, &mut input),
                Ok(picture) => {
                    let mut stream =
                        Stream::new(options.seed, "augment", copy as u64 - 1, u64::from(image));
                    let (width, height) = (picture.width(), picture.height());
                    let plan = Plan::draw(config, width, height, &mut stream);
                    transformer.apply(picture, &plan, &mut input);
                    caption[0] = format!("augmented {copy}");
                }
                Err(error) => {
                    tracing::warn!("{error}");
                    input.fill(0.0);
                    caption[1] = "cannot be decoded".into();
                }
            }
            if copy == 0 && picture.is_ok() {
                let labels = table.labels(image as usize).iter();
                let names = labels.filter_map(|&c| table.classes().get(c as usize));
                let [first, second] = wrap(names.map(String::as_str), tile);
                (caption[1], caption[2]) = (first, second);
            }
            paste(&mut sheet, &back_to_8_bits(config, &input), left, top);
            for (line, text) in caption.iter().enumerate() {
                write(&mut sheet, text, left, top + side + 2 + line as u32 * LINE);
            }
        }
    }
    Ok(sheet)
}

/// Undoes the normalisation; what lies outside 0..255 is clipped for the eye.
fn back_to_8_bits(config: &InputConfig, input: &[f32]) -> Rgb8 {
    let mut picture = Rgb8::filled(config.size, config.size, [0; 3]);
    let pixels = picture.pixels_mut().chunks_exact_mut(3);
    for (to, from) in pixels.zip(input.chunks_exact(3)) {
        for channel in 0..3 {
            let value = from[channel] * config.std[channel] + config.mean[channel];
            to[channel] = (value + 0.5) as u8;
        }
    }
    picture
}

/// Characters that fit into `width` pixels.
fn fitting(width: u32) -> usize {
    (width / ((font::WIDTH + 1) * DOT)) as usize
}

/// The end of a text that is too long, which is where file names differ.
fn tail(text: &str, width: u32) -> String {
    let skipped = text.chars().count().saturating_sub(fitting(width));
    text.chars().skip(skipped).collect()
}

/// Names joined by commas, in two lines; what does not fit is counted.
fn wrap<'a>(names: impl Iterator<Item = &'a str>, width: u32) -> [String; 2] {
    let room = fitting(width);
    let mut lines = [String::new(), String::new()];
    let mut line = 0;
    let mut left_out = 0;
    for name in names {
        let name = tail(name, width);
        loop {
            let comma = if lines[line].is_empty() { "" } else { ", " };
            // The second line keeps room for the count.
            let room = if line == 1 {
                room.saturating_sub(3)
            } else {
                room
            };
            if (lines[line].len() + comma.len() + name.chars().count()) <= room || room == 0 {
                lines[line] += comma;
                lines[line] += &name;
                break;
            }
            if line == 1 {
                left_out += 1;
                break;
            }
            line = 1;
        }
    }
    if left_out > 0 {
        lines[1] += &format!(" +{left_out}");
    }
    lines
}

fn paste(sheet: &mut Rgb8, picture: &Rgb8, left: u32, top: u32) {
    let stride = sheet.width() as usize * 3;
    for y in 0..picture.height() {
        let at = (top + y) as usize * stride + left as usize * 3;
        let row = picture.row(y);
        if let Some(to) = sheet.pixels_mut().get_mut(at..at + row.len()) {
            to.copy_from_slice(row);
        }
    }
}

fn write(sheet: &mut Rgb8, text: &str, left: u32, top: u32) {
    for (i, character) in text.chars().enumerate() {
        let x0 = left + i as u32 * (font::WIDTH + 1) * DOT;
        for (y, row) in font::glyph(character).into_iter().enumerate() {
            for x in (0..font::WIDTH).filter(|x| row >> (font::WIDTH - 1 - x) & 1 == 1) {
                let dot = Rgb8::filled(DOT, DOT, INK);
                paste(sheet, &dot, x0 + x * DOT, top + y as u32 * DOT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;

    #[test]
    fn a_sheet_shows_each_picture_and_its_copies_where_they_belong() {
        let (table, _) = shapes::label_tables(0, 5, 0);
        let root = ImageRoot::Shapes { seed: 0, size: 32 };
        let config = InputConfig {
            size: 32,
            ..InputConfig::default()
        };
        let options = SheetOptions {
            images: vec![3, 1],
            copies: 2,
            columns: 4,
            seed: 0,
        };
        let sheet = draw(&table, &root, &config, &options).unwrap();
        // Three tiles a row, two rows; at this size, captions are what takes the room.
        assert_eq!(sheet.width(), 3 * (96 + GAP) + GAP);
        let step = 32 + LINES * LINE + GAP;
        assert_eq!(sheet.height(), 2 * step + GAP);
        for (row, image) in [3, 1].into_iter().enumerate() {
            let picture = root.decode(table.image(image)).unwrap();
            let shown = sheet.crop(GAP, GAP + row as u32 * step, 32, 32);
            let worst = (shown.pixels().iter().zip(picture.pixels()))
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(worst <= Some(1), "row {row}: {worst:?}");
        }
    }

    #[test]
    fn captions_hold_what_fits_and_count_the_rest() {
        let names = ["person", "bicycle", "umbrella", "mushroom"];
        assert_eq!(
            wrap(names.into_iter(), 400),
            ["person, bicycle, umbrella, mushroom", ""]
        );
        let [first, second] = wrap(names.into_iter(), 96);
        assert_eq!((&*first, &*second), ("person, bicycle", "umbrella +1"));
        assert_eq!(tail("folder/picture.jpg", 60), "icture.jpg");
    }
}
