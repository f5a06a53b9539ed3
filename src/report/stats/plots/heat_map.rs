//! The co-occurrence heat map.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::data::labels::Group;
use crate::error::Result;
use crate::report::chart::{Frame, Pixel, block, small, title, write};
use crate::report::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, group_colour, sheet, shown, text, upwards,
};
use crate::report::stats::SplitStatistics;

/// Largest number of rows of the heat map; more classes are averaged in blocks.
const MAX_CELLS: usize = 120;

/// Returns the mean of P(column | row) over blocks of classes, in the order of the report; cells
/// without a defined probability are `None`. The diagonal is left out of the means.
fn blocks(statistics: &SplitStatistics, conditional: &[Option<f64>]) -> (usize, Vec<Option<f64>>) {
    let c = statistics.classes.len();
    let per_block = c.div_ceil(MAX_CELLS).max(1);
    let n = c.div_ceil(per_block);
    let mut sums = vec![(0.0, 0usize); n * n];
    for (row, a) in statistics.classes.iter().enumerate() {
        for (column, b) in statistics.classes.iter().enumerate() {
            if let Some(p) = conditional[a.index * c + b.index]
                && row != column
            {
                let cell = &mut sums[row / per_block * n + column / per_block];
                cell.0 += p;
                cell.1 += 1;
            }
        }
    }
    let mean = |(sum, count): (f64, usize)| (count > 0).then(|| sum / count as f64);
    (per_block, sums.into_iter().map(mean).collect())
}

/// Maps `part`, in 0..=1, to a colour from white to dark blue.
fn heat(part: f64) -> RGBColor {
    // Square root, because most probabilities are small and differences among them matter.
    let part = part.clamp(0.0, 1.0).sqrt();
    let stops = [
        (255.0, 255.0, 255.0),
        (158.0, 202.0, 225.0),
        (33.0, 113.0, 181.0),
        (8.0, 29.0, 88.0),
    ];
    let at = part * (stops.len() - 1) as f64;
    let i = (at as usize).min(stops.len() - 2);
    let mix = |a: f64, b: f64| (a + (b - a) * (at - i as f64)).round() as u8;
    let (a, b) = (stops[i], stops[i + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Returns the width of the longest class name at a font size, in pixels.
fn name_space(statistics: &SplitStatistics, size: f64) -> i32 {
    let names = statistics.classes.iter().map(|row| shown(&row.class));
    let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
    (longest as f64 * size * CHARACTER) as i32 + 10
}

/// Draws P(column | row) as a heat map, classes by training count; many classes are averaged in
/// blocks.
pub(crate) fn co_occurrence(
    statistics: &SplitStatistics,
    conditional: &[Option<f64>],
) -> Result<String> {
    let c = statistics.classes.len();
    let (per_block, cells) = blocks(statistics, conditional);
    let n = c.div_ceil(per_block);
    let named = per_block == 1;
    let font = if c <= 40 { 13.0 } else { 9.5 };
    let names = match named {
        true => name_space(statistics, font).max(40),
        false => 56,
    };
    let (right, top) = (96, 40 + if named { names } else { 24 });
    // Cells of whole pixels leave no seams.
    let cell = ((1000 - names - right - 16) / n.max(1) as i32).clamp(1, 34);
    let frame = Frame {
        left: names + 16,
        top,
        width: cell * n as i32,
        height: cell * n as i32,
    };
    let width = (frame.right() + right).max(420);
    let most = (cells.iter().flatten()).fold(0.0f64, |most, &p| most.max(p));
    sheet((width as u32, (frame.bottom() + 20) as u32), |area| {
        let heading = match per_block {
            1 => "P(column | row) in the training images".to_owned(),
            _ => format!("P(column | row), mean over blocks of {per_block} × {per_block} classes"),
        };
        title(area, &heading, (16, 8))?;
        for (at, &p) in cells.iter().enumerate() {
            let (row, column) = ((at / n) as i32, (at % n) as i32);
            let from = (frame.left + column * cell, top + row * cell);
            let corners = [from, (from.0 + cell, from.1 + cell)];
            match p {
                Some(p) if p > 0.0 && most > 0.0 => block(area, corners, heat(p / most).filled())?,
                // The probability of a class given itself is always 1.
                _ if row == column && named => block(area, corners, FAINT.filled())?,
                _ => {}
            }
        }
        let corners = [(frame.left, top), (frame.right(), frame.bottom())];
        block(area, corners, GREY.stroke_width(1))?;
        for (place, row) in (0..).zip(&statistics.classes).filter(|_| named) {
            let middle = place * cell + cell / 2;
            let name = shown(&row.class);
            let style = text(font, INK, HPos::Right, VPos::Center);
            write(area, &name, &style, (frame.left - 5, top + middle))?;
            let style = upwards(font, INK, HPos::Left, VPos::Center);
            write(area, &name, &style, (frame.left + middle, top - 5))?;
        }
        bounds(
            area,
            statistics,
            &frame,
            f64::from(cell) / per_block as f64,
            !named,
        )?;
        heat_scale(area, (frame.right() + 20, top), frame.height, most)
    })
}

/// Draws lines between the groups, where a class is `pitch` pixels wide; if `named`, with their
/// names.
fn bounds(
    area: &Area,
    statistics: &SplitStatistics,
    frame: &Frame,
    pitch: f64,
    named: bool,
) -> Result<()> {
    let pixel = |place: usize| (place as f64 * pitch) as i32;
    let mut start = 0;
    for group in statistics.groups.iter().filter(|group| group.classes > 0) {
        let end = start + group.classes;
        if end < statistics.classes.len() {
            let colour = group_colour(Group::Tail);
            frame.level(area, frame.top + pixel(end), colour)?;
            frame.upright(area, frame.left + pixel(end), colour)?;
        }
        if named {
            let middle = (pixel(start) + pixel(end)) / 2;
            let name = group.group.to_string();
            let style = text(13.0, INK, HPos::Right, VPos::Center);
            write(area, &name, &style, (frame.left - 6, frame.top + middle))?;
            let style = text(13.0, INK, HPos::Center, VPos::Bottom);
            write(area, &name, &style, (frame.left + middle, frame.top - 6))?;
        }
        start = end;
    }
    Ok(())
}

/// Draws the colour scale, up to `most`, beside a map of `side` pixels.
fn heat_scale(area: &Area, (x, top): Pixel, side: i32, most: f64) -> Result<()> {
    let height = (side * 2 / 3).clamp(60, 300);
    for pixel in 0..height {
        let part = 1.0 - f64::from(pixel) / f64::from(height - 1).max(1.0);
        // Rows overlap by one pixel, so that scaling the picture shows no seams.
        let end = (x + 16, (top + pixel + 2).min(top + height));
        block(area, [(x, top + pixel), end], heat(part).filled())?;
    }
    let corners = [(x, top), (x + 16, top + height)];
    block(area, corners, GREY.stroke_width(1))?;
    for part in [0.0, 0.25, 0.5, 1.0] {
        let at = top + ((1.0 - part) * f64::from(height)).round() as i32;
        let label = percent(part * most);
        small(area, &label, (x + 22, at), HPos::Left, VPos::Center)?;
    }
    Ok(())
}

/// Formats a probability in percent with about two significant digits.
fn percent(p: f64) -> String {
    let percent = p * 100.0;
    match percent {
        0.0 => "0 %".into(),
        p if p >= 10.0 => format!("{p:.0} %"),
        p if p >= 1.0 => format!("{p:.1} %"),
        p => format!("{p:.2} %"),
    }
}
