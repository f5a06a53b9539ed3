//! A contact sheet: pictures as the network sees them, as a page with names and labels, or as one
//! picture without text.

use minijinja::context;
use serde::Serialize;

use super::page;
use super::thumbnail::data_uri;
use crate::data::augment::{InputConfig, Plan, Transformer};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture::Rgb8;
use crate::error::Result;
use crate::rng::Stream;
use crate::wording::counted;

/// Which pictures a sheet shows, and how.
#[derive(Debug, Clone)]
pub struct SheetOptions {
    /// Image indices, one tile each, plus one for each augmented copy.
    pub images: Vec<u32>,
    /// Number of augmented copies beside each picture, as training would see it in the first
    /// epochs.
    pub copies: usize,
    /// Tiles per row, at least 1. A picture and its copies stay in one row.
    pub columns: usize,
    /// The seed of the augmentation.
    pub seed: u64,
}

impl SheetOptions {
    /// Number of tiles per picture: itself and its copies.
    fn group(&self) -> usize {
        self.copies + 1
    }

    /// Tiles per row, a whole number of groups.
    fn across(&self) -> usize {
        self.columns.max(self.group()) / self.group() * self.group()
    }
}

/// A picture of the table with its copies, all of the network's input size, and its description.
struct Shown<'a> {
    name: &'a str,
    labels: Vec<&'a str>,
    /// The tiles, the picture first; `None` if it cannot be decoded.
    tiles: Vec<Rgb8>,
    problem: Option<String>,
}

/// Returns the pictures as the network sees them, one at a time.
fn shown<'a>(
    table: &'a LabelTable,
    root: &'a ImageRoot,
    config: &'a InputConfig,
    options: &'a SheetOptions,
) -> Result<impl Iterator<Item = Shown<'a>>> {
    config.check(&"input".into())?;
    let mut transformer = Transformer::new(config);
    let mut input = vec![0.0; transformer.input_len()];
    let mut tiles = move |image: u32, picture: &Rgb8| -> Vec<Rgb8> {
        let tile = |copy: usize| {
            if copy == 0 {
                transformer.test(picture, &mut input);
            } else {
                let key = (copy as u64 - 1, u64::from(image));
                let mut stream = Stream::new(options.seed, "augment", key.0, key.1);
                let plan = Plan::draw(config, picture.width(), picture.height(), &mut stream);
                transformer.apply(picture, &plan, &mut input);
            }
            back_to_8_bits(config, &input)
        };
        (0..options.group()).map(tile).collect()
    };
    let known = |&&image: &&u32| (image as usize) < table.len();
    Ok(options.images.iter().filter(known).map(move |&image| {
        let name = table.image(image as usize);
        let labels = table.labels(image as usize).iter();
        let labels: Vec<&str> = labels
            .map(|&c| table.classes()[c as usize].as_str())
            .collect();
        let (tiles, problem) = match root.decode(name) {
            Ok(picture) => (tiles(image, &picture), None),
            Err(error) => {
                tracing::warn!("{error}");
                (Vec::new(), Some(error.to_string()))
            }
        };
        Shown {
            name,
            labels,
            tiles,
            problem,
        }
    }))
}

/// A figure on the page.
#[derive(Serialize)]
struct Figure {
    name: String,
    labels: Vec<String>,
    problem: Option<String>,
    width: u32,
    images: Vec<String>,
}

/// Renders the sheet as one HTML page with embedded pictures; names and labels are text, in any
/// alphabet. A picture that cannot be decoded is replaced by a message.
///
/// # Errors
/// Fails if a value of `config` is out of range.
pub fn page(
    title: &str,
    table: &LabelTable,
    root: &ImageRoot,
    config: &InputConfig,
    options: &SheetOptions,
) -> Result<String> {
    let side = config.size;
    // Text needs room even below small pictures.
    let width = (options.group() as u32 * (side + 3)).max(110);
    let figure = |shown: Shown| -> Result<Figure> {
        Ok(Figure {
            name: shown.name.to_owned(),
            labels: shown.labels.into_iter().map(str::to_owned).collect(),
            problem: shown.problem,
            width,
            images: (shown.tiles.iter())
                .map(|tile| data_uri(tile, QUALITY))
                .collect::<Result<_>>()?,
        })
    };
    let figures: Vec<Figure> = (shown(table, root, config, options)?)
        .map(figure)
        .collect::<Result<_>>()?;
    let copies = match options.copies {
        0 => String::new(),
        n => format!(", each with {}", counted(n, "augmented copy")),
    };
    let note = format!(
        "{} of {}{copies}, at {side} x {side} pixels as the network sees them.",
        counted(figures.len(), "picture"),
        table.len(),
    );
    let context = context! {
        title, note, side,
        wide => true,
        across => options.across(),
        pictures => figures,
    };
    page::render("sheet", include_str!("sheet.html"), context)
}

/// Quality of the JPEG files, high enough that compression is not visible.
const QUALITY: u8 = 92;

/// Gap between tiles of a picture without text, in pixels.
const GAP: u32 = 6;

/// Draws the sheet as one picture, without text. A tile that cannot be decoded is black.
///
/// # Errors
/// Fails if a value of `config` is out of range.
pub fn picture(
    table: &LabelTable,
    root: &ImageRoot,
    config: &InputConfig,
    options: &SheetOptions,
) -> Result<Rgb8> {
    let (group, columns, step) = (options.group(), options.across(), config.size + GAP);
    let rows = (options.images.len() * group).div_ceil(columns).max(1);
    let (width, height) = (columns as u32 * step + GAP, rows as u32 * step + GAP);
    let mut sheet = Rgb8::filled(width, height, [255; 3]);
    let black = Rgb8::filled(config.size, config.size, [0; 3]);
    for (number, shown) in shown(table, root, config, options)?.enumerate() {
        for copy in 0..group {
            let at = number * group + copy;
            let left = GAP + (at % columns) as u32 * step;
            let top = GAP + (at / columns) as u32 * step;
            paste(
                &mut sheet,
                shown.tiles.get(copy).unwrap_or(&black),
                left,
                top,
            );
        }
    }
    Ok(sheet)
}

/// Undoes the normalisation; values outside 0..255 are clipped for display.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;

    fn options() -> SheetOptions {
        SheetOptions {
            images: vec![3, 1],
            copies: 2,
            columns: 4,
            seed: 0,
        }
    }

    #[test]
    fn a_picture_shows_each_image_and_its_copies_where_they_belong() {
        let (table, _) = shapes::label_tables(0, 5, 0);
        let root = ImageRoot::Shapes { seed: 0, size: 32 };
        let config = InputConfig {
            size: 32,
            ..InputConfig::default()
        };
        let sheet = picture(&table, &root, &config, &options()).unwrap();
        // Three tiles per row, two rows.
        let step = 32 + GAP;
        assert_eq!(
            (sheet.width(), sheet.height()),
            (3 * step + GAP, 2 * step + GAP)
        );
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
    fn a_page_holds_names_as_they_are_and_tells_what_cannot_be_read() {
        let mut table = LabelTable::new(vec!["Größe <b>".into(), "猫".into()]);
        table.push("Ordner/Bild_7.JPG", [0, 1]);
        let folder = tempfile::tempdir().unwrap();
        let root = ImageRoot::Folder {
            path: folder.path().to_owned(),
        };
        let options = SheetOptions {
            images: vec![0],
            ..options()
        };
        let page = page("t", &table, &root, &InputConfig::default(), &options).unwrap();
        assert!(
            page.contains("<bdi>Größe &lt;b&gt;</bdi>, <bdi>猫</bdi>")
                && page.contains("cannot be shown")
        );
        assert!(page.contains("Bild_7.JPG") && !page.contains("<b>"));

        let (table, _) = shapes::label_tables(0, 5, 0);
        let root = ImageRoot::Shapes { seed: 0, size: 32 };
        let config = InputConfig {
            size: 32,
            ..InputConfig::default()
        };
        let page = super::page("t", &table, &root, &config, &self::options()).unwrap();
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 6);
    }
}
