//! Plots of precision against recall, one small plot per class.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::Result;
use crate::report::chart::{Frame, Legend, counted, line, panel_title, points, small, title};
use crate::report::drawing::{FAINT, group_colour, sheet};
use crate::report::study::Study;
use crate::report::study::images::recalls;
use crate::report::study::shown::{of_all, shown};

/// Number of plots per row, the size of one including its labels, and the size of the plotting
/// area.
const COLUMNS: usize = 6;
const PANEL: (i32, i32) = (162, 168);
const PLOT: i32 = 122;
/// Above this number of classes the picture would be too long to be useful; the page shows the
/// classes one by one.
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
    let legend = Legend::new(shown.iter().map(|(m, colour)| (&*m.title, *colour)), 960);
    let top = 48 + legend.height;
    let recalls = recalls();
    let svg = sheet((1000, (top + rows * PANEL.1 + 16) as u32), |area| {
        let rest = of_all(study, shown.len());
        let label = format!("Precision against recall, mean over seeds{rest}");
        title(area, &label, (12, 8))?;
        legend.draw(area, (16, 36))?;
        for (number, class) in study.class_order().into_iter().enumerate() {
            let column = (number % COLUMNS) as i32;
            let frame = Frame {
                left: 36 + column * PANEL.0,
                top: top + (number / COLUMNS) as i32 * PANEL.1 + 20,
                width: PLOT,
                height: PLOT,
            };
            let colour = group_colour(classes[class].group);
            let name = counted(&classes[class].name, classes[class].train_count);
            panel_title(area, &name, colour, (frame.left, frame.top))?;
            for tick in [0.0, 0.5, 1.0] {
                frame.level(area, frame.y(tick), FAINT)?;
                frame.upright(area, frame.x(tick), FAINT)?;
                if column == 0 {
                    let at = (frame.left - 4, frame.y(tick));
                    small(area, &points(tick), at, HPos::Right, VPos::Center)?;
                }
                frame.below(area, &points(tick), frame.x(tick))?;
            }
            for (method, colour) in &shown {
                if let Some(precision) = &method.precision[class] {
                    let at = |(r, p): (&f64, &f64)| (frame.x(*r), frame.y(*p));
                    let points = recalls.iter().zip(precision).map(at).collect();
                    line(area, points, colour.stroke_width(2))?;
                }
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}
