//! Parts shared by all pictures: the sheet, text styles and colours.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::labels::Group;
use crate::error::{Error, Result};
use crate::wording::printable;

/// The area that a picture is drawn on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that people with the common colour vision deficiencies can tell apart (Okabe and Ito).
pub(super) const SERIES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// Returns the colour of a class group.
pub(super) fn group_colour(group: Group) -> RGBColor {
    match group {
        Group::Head => SERIES[0],
        Group::Medium => SERIES[2],
        Group::Tail => SERIES[1],
    }
}

/// Colour of text and axes.
pub(super) const INK: RGBColor = RGBColor(27, 31, 36);
/// Colour of grid lines.
pub(super) const FAINT: RGBColor = RGBColor(216, 222, 228);
/// Colour of secondary text.
pub(super) const GREY: RGBColor = RGBColor(87, 96, 106);

/// Width of a character as a fraction of the font size; fonts differ, so this is that of a wide
/// font.
pub(super) const CHARACTER: f64 = 0.5;

/// Converts a drawing error into this crate's error.
pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::input("picture", error)
}

/// Returns a text style anchored at `h`, `v`.
pub(super) fn text(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&colour)
        .pos(Pos::new(h, v))
}

/// Returns the same style for text reading upwards; the anchors apply before rotation.
pub(super) fn upwards(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .transform(FontTransform::Rotate270)
        .color(&colour)
        .pos(Pos::new(h, v))
}

/// Draws on a white sheet and returns the SVG.
pub(super) fn sheet(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    // XML does not allow control characters, but class names may contain them.
    Ok(printable(&svg))
}

/// Returns a class name, shortened if it is very long.
pub(super) fn shown(name: &str) -> String {
    match name.chars().count() > 24 {
        true => name.chars().take(23).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
