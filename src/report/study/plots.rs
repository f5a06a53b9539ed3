//! The pictures of a study, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Study;
use super::method::Method;
use crate::error::Result;
use crate::report::comparison_plot::{self, Series};
use crate::report::drawing::{Area, CHARACTER, GREY, INK, SERIES, failed, text};

mod bars;
mod counts;
mod gain;
mod learning;
mod precision_recall;

/// Every picture with its file's name, in the order of the page. Those without data are left out.
pub(super) fn draw(study: &Study) -> Result<Vec<(&'static str, String)>> {
    let pictures = [
        ("methods.svg", bars::draw(study)?),
        ("per_class.svg", Some(per_class(study)?)),
        ("gain.svg", gain::draw(study)?),
        ("training_count.svg", counts::draw(study)?),
        ("learning.svg", learning::draw(study)?),
        ("precision_recall.svg", precision_recall::draw(study)?),
    ];
    let there = pictures
        .into_iter()
        .filter_map(|(name, svg)| Some((name, svg?)));
    Ok(there.collect())
}

/// The methods that a picture with lines or dots of all shows, with their colours: as many as
/// there are colours, the baseline and those with the highest total mAP, in the order of the
/// tables.
pub(super) fn shown(study: &Study) -> Vec<(&Method, RGBColor)> {
    let mut places: Vec<usize> = (0..study.methods.len()).collect();
    places.sort_by(|&a, &b| {
        let total = |place: usize| study.methods[place].means().total.unwrap_or(-1.0);
        (b == study.baseline)
            .cmp(&(a == study.baseline))
            .then(total(b).total_cmp(&total(a)))
    });
    places.truncate(SERIES.len());
    places.sort_unstable();
    (places.into_iter().zip(SERIES))
        .map(|(place, colour)| (&study.methods[place], colour))
        .collect()
}

/// What a title says about methods that are not shown.
fn of_all(study: &Study, shown: usize) -> String {
    match study.methods.len() > shown {
        true => format!(" ({shown} of {} methods)", study.methods.len()),
        false => String::new(),
    }
}

/// AP of every class, sorted by training count, with the groups shaded.
fn per_class(study: &Study) -> Result<String> {
    let shown = shown(study);
    let series: Vec<Series> = (shown.iter())
        .map(|(method, _)| Series {
            method: &method.title,
            average_precision: method.class_scores.clone(),
        })
        .collect();
    let title = format!(
        "AP by class, training images in brackets{}",
        of_all(study, shown.len())
    );
    comparison_plot::draw(&title, study.classes(), &series)
}

/// Names beside dots in their colours, from `left`, in lines as wide as `width`. Gives the height
/// that it took.
fn legend(area: &Area, entries: &[(&Method, RGBColor)], at: (i32, i32), width: i32) -> Result<i32> {
    const LINE: i32 = 20;
    let style = text(13.0, INK, HPos::Left, VPos::Center);
    let (mut x, mut y) = (at.0, at.1 + LINE / 2);
    for (method, colour) in entries {
        let space = 34 + (method.title.chars().count() as f64 * 13.0 * CHARACTER * 1.1) as i32;
        if x + space > at.0 + width && x > at.0 {
            (x, y) = (at.0, y + LINE);
        }
        let dot = Circle::new((x + 5, y), 5, colour.filled());
        area.draw(&dot).map_err(failed)?;
        area.draw_text(&method.title, &style, (x + 15, y))
            .map_err(failed)?;
        x += space;
    }
    Ok(y + LINE / 2 - at.1)
}

/// How many lines [`legend`] takes, in pixels.
fn legend_height(entries: &[(&Method, RGBColor)], width: i32) -> i32 {
    let (mut x, mut lines) = (0, 1);
    for (method, _) in entries {
        let space = 34 + (method.title.chars().count() as f64 * 13.0 * CHARACTER * 1.1) as i32;
        if x + space > width && x > 0 {
            (x, lines) = (0, lines + 1);
        }
        x += space;
    }
    lines * 20
}

/// The title of a picture.
fn title(area: &Area, label: &str, left: i32) -> Result<()> {
    let style = text(17.0, INK, HPos::Left, VPos::Top);
    area.draw_text(label, &style, (left, 8)).map_err(failed)
}

/// A small label in grey.
fn small(area: &Area, label: &str, at: (i32, i32), h: HPos, v: VPos) -> Result<()> {
    area.draw_text(label, &text(12.0, GREY, h, v), at)
        .map_err(failed)
}

/// A line through points.
fn line(area: &Area, points: Vec<(i32, i32)>, style: ShapeStyle) -> Result<()> {
    area.draw(&PathElement::new(points, style)).map_err(failed)
}

/// A filled rectangle.
fn block(area: &Area, corners: [(i32, i32); 2], style: ShapeStyle) -> Result<()> {
    area.draw(&Rectangle::new(corners, style)).map_err(failed)
}

/// The smallest step of 1, 2 or 5 times a power of ten that needs at most `lines` for `span`.
fn nice_step(span: f64, lines: f64) -> f64 {
    let least = (span / lines).max(1e-12);
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|f| f * power >= least);
    factor.unwrap_or(10.0) * power
}
