//! Plot of mAP against the first key that a search varied, one panel per method.

use plotters::prelude::*;

use super::method::Method;
use crate::error::Result;
use crate::report::chart::{Frame, Scale, dot, line, panel_title, points, title};
use crate::report::drawing::{FAINT, GREY, INK, SERIES, sheet, shown};

/// Number of panels per row, their size including labels, and the size of the plotting area.
const COLUMNS: usize = 4;
const PANEL: (i32, i32) = (244, 186);
const PLOT: (i32, i32) = (184, 116);

/// Draws the picture; `None` if no numeric key varied.
pub(super) fn draw(methods: &[Method]) -> Result<Option<String>> {
    let values: Vec<(f64, f64)> = methods
        .iter()
        .flat_map(|m| m.curve.iter().copied())
        .collect();
    let (low, high) = span(values.iter().map(|point| point.0));
    if low >= high {
        return Ok(None);
    }
    // Learning rates are tried in factors, which are evenly spaced on a logarithmic scale.
    let by_factors = low > 0.0 && high / low > 8.0;
    let place = |value: f64| match by_factors {
        true => (value / low).ln() / (high / low).ln(),
        false => (value - low) / (high - low),
    };
    let (lowest, highest) = span(values.iter().map(|point| point.1));
    let scale = Scale::new(lowest, highest.max(lowest + 0.01), 4.0);
    let rows = methods.len().div_ceil(COLUMNS) as i32;
    let svg = sheet((1000, (48 + rows * PANEL.1) as u32), |area| {
        let key = methods.first().map_or("", |method| &method.key);
        let label = format!("mAP over the folds, %, against {key}");
        title(area, &label, (12, 8))?;
        for (number, method) in methods.iter().enumerate() {
            let frame = Frame {
                left: 56 + (number % COLUMNS) as i32 * PANEL.0,
                top: 60 + (number / COLUMNS) as i32 * PANEL.1,
                width: PLOT.0,
                height: PLOT.1,
            };
            panel_title(area, &shown(&method.name), INK, (frame.left, frame.top))?;
            frame.levels(area, &scale, points)?;
            for value in [low, high] {
                let x = frame.x(place(value));
                frame.upright(area, x, FAINT)?;
                frame.below(area, &value.to_string(), x)?;
            }
            curve(area, method, |(x, y)| {
                (frame.x(place(x)), frame.y(scale.part(y)))
            })?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Draws the dots of a method, with a line through the best of each value.
fn curve(
    area: &crate::report::drawing::Area,
    method: &Method,
    at: impl Fn((f64, f64)) -> (i32, i32),
) -> Result<()> {
    let mut sorted = method.curve.clone();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = sorted.clone();
    best.dedup_by(|later, first| later.0 == first.0);
    line(
        area,
        best.iter().map(|&point| at(point)).collect(),
        SERIES[0].stroke_width(2),
    )?;
    for &point in &sorted {
        dot(area, at(point), 3, GREY.filled())?;
    }
    let highest = sorted.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some(highest) = highest {
        dot(area, at(highest), 6, SERIES[1].stroke_width(2))?;
    }
    Ok(())
}

/// Returns the lowest and the highest value.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}
