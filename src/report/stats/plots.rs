//! The pictures of the report about a split, as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::SplitStatistics;
use crate::data::labels::GroupThresholds;
use crate::error::Result;
use crate::report::chart::{ClassNames, Frame, Scale, block, line, small, title, write};
use crate::report::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, SERIES, group_colour, sheet, shown, text,
};

mod heat_map;

pub(super) use heat_map::co_occurrence;

/// Plots the training images per class in decreasing order on a logarithmic axis, with the curve
/// that the construction aimed at and the bounds of the groups.
pub(super) fn class_distribution(
    statistics: &SplitStatistics,
    thresholds: GroupThresholds,
) -> Result<String> {
    let rows = &statistics.classes;
    let names = ClassNames::new(rows.iter().map(|row| shown(&row.class)));
    let frame = Frame {
        left: 64,
        top: 44,
        width: 860,
        height: 340,
    };
    let reference = statistics.reference.as_deref().unwrap_or(&[]);
    let largest = (rows.iter().map(|row| row.train))
        .chain(reference.iter().copied())
        .fold(2, usize::max);
    // A class with one image has a bar above the axis, a class without images has none.
    let lowest = 0.7f64;
    let highest = largest as f64 * 1.25;
    let y = |count: f64| frame.y((count.max(lowest) / lowest).ln() / (highest / lowest).ln());
    let classes = rows.len().max(1) as f64;
    let x = |place: f64| frame.x(place / classes);
    sheet(
        (1000, (frame.bottom() + names.height() + 16) as u32),
        |area| {
            title(area, "Training images per class", (frame.left, 8))?;
            let ticks = std::iter::successors(Some(1.0), |tick| Some(tick * 10.0));
            for tick in ticks.take_while(|tick| *tick <= highest) {
                frame.level(area, y(tick), FAINT)?;
                let at = (frame.left - 6, y(tick));
                small(area, &tick.to_string(), at, HPos::Right, VPos::Center)?;
            }
            for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.train > 0) {
                // Wide bars have a gap between them, narrow ones touch.
                let gap = i32::from(f64::from(frame.width) / classes >= 6.0);
                let (from, to) = (x(place as f64) + gap, x(place as f64 + 1.0) - gap);
                let upper = (from, y(row.train as f64));
                let corners = [upper, (to.max(from + 1), frame.bottom())];
                block(area, corners, group_colour(row.group).filled())?;
            }
            frame.level(area, frame.bottom(), INK)?;
            for (bound, name) in [(thresholds.head, "head"), (thresholds.medium, "medium")] {
                if bound == 0 || bound as f64 > highest {
                    continue;
                }
                let y = y(bound as f64);
                for dash in (frame.left..frame.right()).step_by(10) {
                    let end = (dash + 6).min(frame.right());
                    line(area, vec![(dash, y), (end, y)], GREY.stroke_width(1))?;
                }
                let (label, at) = (format!("{name} ≥ {bound}"), (frame.right() + 6, y));
                small(area, &label, at, HPos::Left, VPos::Center)?;
            }
            let group = |g: &super::GroupRow| {
                (
                    format!("{} {}", g.classes, g.group),
                    group_colour(g.group),
                    Mark::Box,
                )
            };
            let mut entries: Vec<_> = statistics.groups.iter().map(group).collect();
            if !reference.is_empty() {
                let curve = (reference.iter().enumerate())
                    .map(|(k, &count)| (x(k as f64 + 0.5), y(count as f64)));
                line(area, curve.collect(), INK.stroke_width(2))?;
                entries.push(("reference curve".into(), INK, Mark::Line));
            }
            key(area, frame.right(), &entries)?;
            names.draw(area, &frame)
        },
    )
}

/// The mark beside a text of the legend.
enum Mark {
    Box,
    Line,
}

/// Draws the legend in the line of the title, ending near `right`.
fn key(area: &Area, right: i32, entries: &[(String, RGBColor, Mark)]) -> Result<()> {
    let width = |label: &str| 17 + (label.chars().count() as f64 * 12.0 * CHARACTER) as i32 + 20;
    let style = text(12.0, INK, HPos::Left, VPos::Center);
    let mut at = right + 20 - entries.iter().map(|(label, ..)| width(label)).sum::<i32>();
    for (label, colour, mark) in entries {
        let corners = match mark {
            Mark::Box => [(at, 12), (at + 12, 24)],
            Mark::Line => [(at, 17), (at + 12, 19)],
        };
        block(area, corners, colour.filled())?;
        write(area, label, &style, (at + 17, 18))?;
        at += width(label);
    }
    Ok(())
}

/// Plots the share of images with 0, 1, 2, ... labels, training beside test.
pub(super) fn labels_per_image(statistics: &SplitStatistics) -> Result<String> {
    let (train, test) = (&statistics.train_histogram, &statistics.test_histogram);
    let mut sets = vec![
        ("training", train, statistics.train_images, SERIES[0]),
        ("test", test, statistics.test_images, SERIES[4]),
    ];
    sets.retain(|(_, _, images, _)| *images > 0);
    let bins = sets.iter().map(|(_, h, ..)| h.len()).fold(2, usize::max);
    let part = |histogram: &[usize], images: usize, labels: usize| {
        histogram.get(labels).copied().unwrap_or(0) as f64 / images as f64
    };
    let highest = (sets.iter())
        .flat_map(|(_, h, images, _)| (0..bins).map(|b| part(h, *images, b)))
        .fold(0.01, f64::max);
    let scale = Scale::score(highest, 5.0);
    let frame = Frame {
        left: 64,
        top: 44,
        width: 860,
        height: 280,
    };
    let bin = f64::from(frame.width) / bins as f64;
    let bar = (bin * 0.84 / sets.len().max(1) as f64).min(60.0);
    let size = (frame.right() as u32 + 20, frame.bottom() as u32 + 52);
    sheet(size, |area| {
        title(area, "Images by number of labels", (frame.left, 8))?;
        frame.levels(area, &scale, |p| format!("{:.0} %", p * 100.0))?;
        // Labels as many ticks as fit.
        let every = (36.0 / bin).ceil().max(1.0) as usize;
        for labels in 0..bins {
            let middle = f64::from(frame.left) + (labels as f64 + 0.5) * bin;
            for (k, (_, histogram, images, colour)) in sets.iter().enumerate() {
                let p = part(histogram, *images, labels);
                if p > 0.0 {
                    let from = middle + (k as f64 - sets.len() as f64 / 2.0) * bar;
                    let to = ((from + bar) as i32).max(from as i32 + 1);
                    // Even a single image has a visible bar.
                    let upper = frame.y(scale.part(p)).min(frame.bottom() - 1);
                    let corners = [(from as i32, upper), (to, frame.bottom())];
                    block(area, corners, colour.filled())?;
                }
            }
            if labels % every == 0 {
                let style = text(12.0, INK, HPos::Center, VPos::Top);
                let at = (middle as i32, frame.bottom() + 6);
                write(area, &labels.to_string(), &style, at)?;
            }
        }
        frame.level(area, frame.bottom(), INK)?;
        frame.x_title(area, "labels of an image")?;
        let entry = |(name, _, images, colour): &(&str, &Vec<usize>, usize, RGBColor)| {
            (format!("{name} ({images} images)"), *colour, Mark::Box)
        };
        let entries: Vec<_> = sets.iter().map(entry).collect();
        key(area, frame.right(), &entries)
    })
}
