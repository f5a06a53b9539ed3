//! Plot of loss and gradient against the logit.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::chart::{Frame, Pixel, Scale, dashes, line, nice_step, panel_title, title, write};
use super::drawing::{Area, INK, sheet, text};
use crate::error::Result;
use crate::loss::profile::Point;

/// One curve: a class, as a positive or as a negative.
#[derive(Debug, Clone)]
pub struct Curve {
    /// The curve's text in the legend.
    pub name: String,
    /// Whether this is a positive, drawn solid, or a negative, drawn dashed.
    pub positive: bool,
    /// Curves of the same class share a colour: 0 for the first class, 1 for the second.
    pub class: usize,
    /// The points by ascending logit.
    pub points: Vec<Point>,
}

/// The colours of the first and the second class; they also differ in lightness.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 75, 135), RGBColor(214, 110, 10)];

/// Size of the sheet, then the height of a legend line.
const SHEET: (u32, u32) = (1000, 490);
const LEGEND_LINE: i32 = 20;

/// Draws two charts side by side, the loss and its gradient, as SVG.
pub fn loss_curves(label: &str, curves: &[Curve]) -> Result<String> {
    // The legend has two columns.
    let legend = (curves.len() as i32 + 1) / 2 * LEGEND_LINE;
    sheet(SHEET, |area| {
        title(area, label, (12, 8))?;
        for (number, curve) in curves.iter().enumerate() {
            let (row, column) = ((number / 2) as i32, (number % 2) as i32);
            let at = (64 + column * 490, 36 + row * LEGEND_LINE + LEGEND_LINE / 2);
            stroke(area, vec![at, (at.0 + 30, at.1)], curve)?;
            let style = text(13.0, INK, HPos::Left, VPos::Center);
            write(area, &curve.name, &style, (at.0 + 38, at.1))?;
        }
        type Side = fn(&Point) -> f64;
        let charts: [(&str, Side); 2] = [
            ("loss", |p| p.loss),
            ("gradient of the logit", |p| p.gradient),
        ];
        for (number, (name, value)) in charts.into_iter().enumerate() {
            let top = 66 + legend;
            let frame = Frame {
                left: 64 + number as i32 * 490,
                top,
                width: 420,
                height: SHEET.1 as i32 - top - 52,
            };
            panel_title(area, name, INK, (frame.left, frame.top))?;
            chart(area, &frame, curves, value)?;
        }
        Ok(())
    })
}

/// Draws one of the two charts: `value` against the logit.
fn chart(area: &Area, frame: &Frame, curves: &[Curve], value: fn(&Point) -> f64) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let range = |of: &dyn Fn(&Point) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min);
        let high = points().map(of).fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let (first, last) = range(&|p| p.logit);
    let (low, high) = range(&value);
    let across = Scale {
        floor: first,
        ceiling: last,
        step: nice_step(last - first, 9.0),
    };
    // Keeps the range from being empty.
    let scale = Scale::new(low, high.max(low + 1e-9), 7.0);
    frame.levels(area, &scale, |value| scale.label(value))?;
    for logit in Scale::new(first, last, 9.0).ticks() {
        if (first..=last).contains(&logit) {
            frame.below(area, &across.label(logit), frame.x(across.part(logit)))?;
        }
    }
    frame.x_title(area, "logit z")?;
    for curve in curves {
        let at = |p: &Point| (frame.x(across.part(p.logit)), frame.y(scale.part(value(p))));
        stroke(area, curve.points.iter().map(at).collect(), curve)?;
    }
    Ok(())
}

/// Draws a line in the style of a curve.
fn stroke(area: &Area, points: Vec<Pixel>, curve: &Curve) -> Result<()> {
    // Where both classes have the same curve, the wider line stays visible behind the narrower.
    let width = if curve.class == 0 { 4 } else { 2 };
    let style = COLOURS[curve.class % 2].stroke_width(width);
    match curve.positive {
        true => line(area, points, style),
        false => dashes(area, points, style),
    }
}
