//! The pictures of a split's report, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::data::labels::GroupThresholds;
use crate::error::Result;
use crate::report::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, failed, group_colour, sheet, shown, text, upwards,
};

use super::SplitStatistics;

mod heat_map;

pub(super) use heat_map::co_occurrence;

/// Above this many classes their names are left out.
const MOST_NAMED: usize = 120;
/// Pixels that the longest class name takes at a font size.
fn name_space(statistics: &SplitStatistics, size: f64) -> i32 {
    let longest = (statistics.classes.iter())
        .map(|row| shown(&row.class).chars().count())
        .max()
        .unwrap_or(0);
    (longest as f64 * size * CHARACTER) as i32 + 10
}

/// Training images a class in decreasing order, on a logarithmic axis, with the curve that the
/// construction aimed at and the bounds of the groups.
#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
pub(super) fn class_distribution(
    statistics: &SplitStatistics,
    thresholds: GroupThresholds,
) -> Result<String> {
    let rows = &statistics.classes;
    let named = rows.len() <= MOST_NAMED;
    let font = if rows.len() <= 40 { 13.0 } else { 10.0 };
    let below = if named {
        name_space(statistics, font)
    } else {
        30
    };
    let (left, right, top, height) = (64, 76, 44, 340);
    let width = 1000 - left - right;
    let size = (1000, (top + height + below + 26) as u32);
    let reference = statistics.reference.as_deref().unwrap_or(&[]);
    let largest = (rows.iter().map(|row| row.train))
        .chain(reference.iter().copied())
        .max()
        .unwrap_or(1)
        .max(2);
    // One image stands above the axis, a class without images on it.
    let lowest = 0.7f64;
    let highest = largest as f64 * 1.25;
    let y = |count: f64| {
        let part = (count.max(lowest) / lowest).ln() / (highest / lowest).ln();
        top + height - (part * f64::from(height)).round() as i32
    };
    let step = f64::from(width) / rows.len().max(1) as f64;
    let x = |place: f64| left + (place * step).round() as i32;
    sheet(size, |area| {
        let draw_line = |points: Vec<(i32, i32)>, style: ShapeStyle| {
            area.draw(&PathElement::new(points, style)).map_err(failed)
        };
        let write = |label: &str, style: &TextStyle, at: (i32, i32)| {
            area.draw_text(label, style, at).map_err(failed)
        };
        write(
            "Training images per class",
            &text(17.0, INK, HPos::Left, VPos::Top),
            (left, 8),
        )?;
        let mut tick = 1.0;
        while tick <= highest {
            draw_line(
                vec![(left, y(tick)), (left + width, y(tick))],
                FAINT.stroke_width(1),
            )?;
            let style = text(12.0, GREY, HPos::Right, VPos::Center);
            write(&format!("{tick}"), &style, (left - 6, y(tick)))?;
            tick *= 10.0;
        }
        for (place, row) in rows.iter().enumerate() {
            if row.train > 0 {
                // Wide bars get a gap between them, narrow ones touch.
                let gap = if step >= 6.0 { 1 } else { 0 };
                let (from, to) = (x(place as f64) + gap, x(place as f64 + 1.0) - gap);
                let corners = [
                    (from, y(row.train as f64)),
                    (to.max(from + 1), top + height),
                ];
                let bar = Rectangle::new(corners, group_colour(row.group).filled());
                area.draw(&bar).map_err(failed)?;
            }
            if named {
                let at = (x(place as f64 + 0.5), top + height + 6);
                // Turned text hangs from its end.
                let style = upwards(font, INK, HPos::Right, VPos::Center);
                write(&shown(&row.class), &style, at)?;
            }
        }
        draw_line(
            vec![(left, top + height), (left + width, top + height)],
            INK.stroke_width(1),
        )?;
        for (bound, name) in [(thresholds.head, "head"), (thresholds.medium, "medium")] {
            let at = bound as f64;
            if bound == 0 || at > highest {
                continue;
            }
            for dash in (left..left + width).step_by(10) {
                let end = (dash + 6).min(left + width);
                draw_line(vec![(dash, y(at)), (end, y(at))], GREY.stroke_width(1))?;
            }
            let style = text(12.0, GREY, HPos::Left, VPos::Center);
            write(
                &format!("{name} ≥ {bound}"),
                &style,
                (left + width + 6, y(at)),
            )?;
        }
        if !reference.is_empty() {
            let curve = (reference.iter().enumerate())
                .map(|(k, &count)| (x(k as f64 + 0.5), y(count as f64)));
            draw_line(curve.collect(), INK.stroke_width(2))?;
        }
        let mut entries: Vec<_> = (statistics.groups.iter())
            .map(|g| {
                (
                    format!("{} {}", g.classes, g.group),
                    group_colour(g.group),
                    Mark::Box,
                )
            })
            .collect();
        if !reference.is_empty() {
            entries.push(("reference curve".into(), INK, Mark::Line));
        }
        legend(area, left + width, &entries)?;
        if !named {
            let style = text(12.0, GREY, HPos::Center, VPos::Top);
            let label = format!("{} classes by training images", rows.len());
            write(&label, &style, (left + width / 2, top + height + 8))?;
        }
        Ok(())
    })
}

/// The mark beside a legend's text.
enum Mark {
    Box,
    Line,
}

/// What colours and lines mean, in the title's line, ending near `right`.
fn legend(area: &Area, right: i32, entries: &[(String, RGBColor, Mark)]) -> Result<()> {
    let width = |label: &str| 17 + (label.chars().count() as f64 * 12.0 * CHARACTER) as i32 + 20;
    let style = text(12.0, INK, HPos::Left, VPos::Center);
    let mut at = right + 20 - entries.iter().map(|(label, ..)| width(label)).sum::<i32>();
    for (label, colour, mark) in entries {
        let corners = match mark {
            Mark::Box => [(at, 12), (at + 12, 24)],
            Mark::Line => [(at, 17), (at + 12, 19)],
        };
        let mark = Rectangle::new(corners, colour.filled());
        area.draw(&mark).map_err(failed)?;
        area.draw_text(label, &style, (at + 17, 18))
            .map_err(failed)?;
        at += width(label);
    }
    Ok(())
}

/// The part of the images with 0, 1, 2 ... labels, training beside test.
#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
pub(super) fn labels_per_image(statistics: &SplitStatistics) -> Result<String> {
    let sets = [
        (
            "training",
            &statistics.train_histogram,
            statistics.train_images,
            RGBColor(0, 114, 178),
        ),
        (
            "test",
            &statistics.test_histogram,
            statistics.test_images,
            RGBColor(230, 159, 0),
        ),
    ];
    let sets: Vec<_> = sets
        .into_iter()
        .filter(|(_, _, images, _)| *images > 0)
        .collect();
    let bins = sets
        .iter()
        .map(|(_, h, _, _)| h.len())
        .max()
        .unwrap_or(1)
        .max(2);
    let part = |histogram: &[usize], images: usize, labels: usize| {
        histogram.get(labels).copied().unwrap_or(0) as f64 / images as f64
    };
    let highest = (sets.iter())
        .flat_map(|(_, h, images, _)| (0..bins).map(|b| part(h, *images, b)))
        .fold(0.01, f64::max);
    // The smallest round step that needs at most five lines.
    let step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
        .into_iter()
        .find(|step| highest / step <= 5.0)
        .unwrap_or(0.5);
    let (left, top, width, height) = (64, 44, 860, 280);
    let ceiling = (highest / step).ceil() * step;
    let y = |p: f64| top + height - (p / ceiling * f64::from(height)).round() as i32;
    let bin = f64::from(width) / bins as f64;
    let bar = (bin * 0.84 / sets.len().max(1) as f64).min(60.0);
    sheet(
        (left as u32 + width as u32 + 20, (top + height + 52) as u32),
        |area| {
            let write = |label: &str, style: &TextStyle, at: (i32, i32)| {
                area.draw_text(label, style, at).map_err(failed)
            };
            let style = text(17.0, INK, HPos::Left, VPos::Top);
            write("Images by number of labels", &style, (left, 8))?;
            let lines = (ceiling / step).round() as usize;
            for line in 0..=lines {
                let p = line as f64 * step;
                let ends = vec![(left, y(p)), (left + width, y(p))];
                area.draw(&PathElement::new(ends, FAINT.stroke_width(1)))
                    .map_err(failed)?;
                let style = text(12.0, GREY, HPos::Right, VPos::Center);
                write(&format!("{:.0} %", p * 100.0), &style, (left - 6, y(p)))?;
            }
            // Every label number that there is room for.
            let every = (36.0 / bin).ceil().max(1.0) as usize;
            for labels in 0..bins {
                let middle = f64::from(left) + (labels as f64 + 0.5) * bin;
                for (k, (_, histogram, images, colour)) in sets.iter().enumerate() {
                    let p = part(histogram, *images, labels);
                    if p > 0.0 {
                        let from = middle + (k as f64 - sets.len() as f64 / 2.0) * bar;
                        let to = ((from + bar) as i32).max(from as i32 + 1);
                        // Something is seen wherever there is an image.
                        let top_edge = y(p).min(top + height - 1);
                        let corners = [(from as i32, top_edge), (to, top + height)];
                        area.draw(&Rectangle::new(corners, colour.filled()))
                            .map_err(failed)?;
                    }
                }
                if labels % every == 0 {
                    let style = text(12.0, INK, HPos::Center, VPos::Top);
                    write(
                        &labels.to_string(),
                        &style,
                        (middle as i32, top + height + 6),
                    )?;
                }
            }
            let ends = vec![(left, top + height), (left + width, top + height)];
            area.draw(&PathElement::new(ends, INK.stroke_width(1)))
                .map_err(failed)?;
            let style = text(12.0, GREY, HPos::Center, VPos::Top);
            write(
                "labels of an image",
                &style,
                (left + width / 2, top + height + 28),
            )?;
            let entries: Vec<_> = (sets.iter())
                .map(|(name, _, images, colour)| {
                    (format!("{name} ({images} images)"), *colour, Mark::Box)
                })
                .collect();
            legend(area, left + width, &entries)?;
            Ok(())
        },
    )
}
