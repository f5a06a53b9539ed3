//! What every picture shares: the sheet, the text styles, the colours.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::labels::Group;
use crate::error::{Error, Result};
use crate::wording::printable;

/// Where a picture is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that people with the common colour deficiencies can tell apart (Okabe and Ito).
pub(super) const SERIES: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// The colour of a class group.
pub(super) fn group_colour(group: Group) -> RGBColor {
    match group {
        Group::Head => SERIES[0],
        Group::Medium => SERIES[2],
        Group::Tail => SERIES[1],
    }
}

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(27, 31, 36);
/// Grid lines.
pub(super) const FAINT: RGBColor = RGBColor(216, 222, 228);
/// Secondary text.
pub(super) const GREY: RGBColor = RGBColor(87, 96, 106);

/// Width of a character, as part of the font size: the fonts differ, this is a wide one's.
pub(super) const CHARACTER: f64 = 0.5;

/// Turns a drawing error into the library's.
pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::input("picture", error)
}

/// A text style anchored at `h`, `v`.
pub(super) fn text(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&colour)
        .pos(Pos::new(h, v))
}

/// The same, reading upwards; anchors are those of the text before it is turned.
pub(super) fn upwards(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .transform(FontTransform::Rotate270)
        .color(&colour)
        .pos(Pos::new(h, v))
}

/// Draws on a white sheet and gives the SVG.
pub(super) fn sheet(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    // XML has no place for control characters, which the names of classes may hold.
    Ok(printable(&svg))
}

/// A class name, cut where it is very long.
pub(super) fn shown(name: &str) -> String {
    match name.chars().count() > 24 {
        true => name.chars().take(23).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
