//! Precision against recall, a small picture a class.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{legend, legend_height, line, of_all, shown, small, title};
use crate::error::Result;
use crate::report::drawing::{FAINT, failed, group_colour, sheet, shown as cut, text};
use crate::report::study::Study;
use crate::report::study::images::recalls;

/// Pictures in a row, the size of one with its labels, and the plotted part.
const COLUMNS: usize = 6;
const PANEL: (i32, i32) = (162, 168);
const PLOT: i32 = 122;
/// Above this many classes the file would be too long to be read: the page shows them one by one.
const MOST: usize = 120;

pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let shown: Vec<_> = (shown(study).into_iter())
        .filter(|(method, _)| !method.precision.is_empty())
        .collect();
    let classes = study.classes();
    if shown.is_empty() || classes.len() > MOST {
        return Ok(None);
    }
    let rows = classes.len().div_ceil(COLUMNS) as i32;
    let top = 48 + legend_height(&shown, 960);
    let recalls = recalls();
    let svg = sheet((1000, (top + rows * PANEL.1 + 16) as u32), |area| {
        let label = format!(
            "Precision against recall, mean over seeds{}",
            of_all(study, shown.len())
        );
        title(area, &label, 12)?;
        legend(area, &shown, (16, 36), 960)?;
        for (number, class) in study.class_order().into_iter().enumerate() {
            let column = (number % COLUMNS) as i32;
            let row = (number / COLUMNS) as i32;
            let (left, start) = (36 + column * PANEL.0, top + row * PANEL.1 + 20);
            let x = |recall: f64| left + (recall * f64::from(PLOT)).round() as i32;
            let y = |precision: f64| start + PLOT - (precision * f64::from(PLOT)).round() as i32;
            let colour = group_colour(classes[class].group);
            let style = text(12.0, colour, HPos::Left, VPos::Bottom);
            let name = format!(
                "{} ({})",
                cut(&classes[class].name),
                classes[class].train_count
            );
            area.draw_text(&name, &style, (left, start - 3))
                .map_err(failed)?;
            for tick in [0.0, 0.5, 1.0] {
                line(
                    area,
                    vec![(left, y(tick)), (left + PLOT, y(tick))],
                    FAINT.stroke_width(1),
                )?;
                line(
                    area,
                    vec![(x(tick), start), (x(tick), start + PLOT)],
                    FAINT.stroke_width(1),
                )?;
                let label = format!("{:.0}", tick * 100.0);
                if column == 0 {
                    small(area, &label, (left - 4, y(tick)), HPos::Right, VPos::Center)?;
                }
                small(
                    area,
                    &label,
                    (x(tick), start + PLOT + 3),
                    HPos::Center,
                    VPos::Top,
                )?;
            }
            for (method, colour) in &shown {
                if let Some(precision) = &method.precision[class] {
                    let points = recalls.iter().zip(precision).map(|(r, p)| (x(*r), y(*p)));
                    line(area, points.collect(), colour.stroke_width(2))?;
                }
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}
