//! Bar chart of the methods with error bars: total, head, medium and tail side by side.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::Result;
use crate::metrics::Scope;
use crate::report::chart::{Frame, Scale, block, line, panel_title, points, small, title, write};
use crate::report::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, group_colour, sheet, shown as cut, text,
};
use crate::report::study::Study;

/// Height of a method's row.
const ROW: i32 = 26;
/// Gap between the panels.
const GAP: i32 = 14;

pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let names: Vec<String> = study.methods.iter().map(|m| cut(&m.title)).collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let left = 24 + (longest as f64 * 13.0 * CHARACTER * 1.1) as i32;
    let highest = (study.methods.iter())
        .flat_map(|m| Scope::ALL.map(|scope| m.mean_and_deviation(scope)))
        .filter_map(|(mean, deviation)| Some(mean? + deviation.unwrap_or(0.0)))
        .fold(0.0f64, f64::max);
    if highest <= 0.0 {
        return Ok(None);
    }
    let scale = Scale::score(highest, 4.0);
    let panel = (1000 - left - 4 * GAP - 8) / 4;
    let frame = |column: i32| Frame {
        left: left + column * (panel + GAP),
        top: 64,
        // The values are written to the right of the bars, inside their panel.
        width: panel - 44,
        height: study.methods.len() as i32 * ROW,
    };
    let svg = sheet((1000, (frame(0).bottom() + 34) as u32), |area| {
        let spread = match study.methods.iter().any(|m| m.seeds.len() > 1) {
            true => ", error bars: standard deviation over seeds",
            false => "",
        };
        title(area, &format!("mAP, %{spread}"), (12, 8))?;
        for (column, scope) in (0..).zip(Scope::ALL) {
            bars(area, study, scope, &frame(column), &scale)?;
        }
        let style = text(13.0, INK, HPos::Right, VPos::Center);
        for (row, name) in (0..).zip(&names) {
            write(area, name, &style, (left - 8, middle(&frame(0), row)))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Returns the y pixel of the middle of a method's row.
fn middle(frame: &Frame, row: i32) -> i32 {
    frame.top + row * ROW + ROW / 2
}

/// Draws one panel: the methods' mAP over the classes of `scope`.
fn bars(area: &Area, study: &Study, scope: Scope, frame: &Frame, scale: &Scale) -> Result<()> {
    let (start, top) = (frame.left, frame.top);
    let colour = scope.group().map_or(GREY, group_colour);
    panel_title(area, scope.name(), colour, (start, top - 2))?;
    if study.methods.iter().all(|m| m.means()[scope].is_none()) {
        let at = (start, top + 6);
        return small(area, "no class with an AP", at, HPos::Left, VPos::Top);
    }
    let x = |score: f64| frame.x(scale.part(score));
    for score in scale.ticks() {
        frame.upright(area, x(score), FAINT)?;
        frame.below(area, &points(score), x(score))?;
    }
    for (row, method) in (0..).zip(&study.methods) {
        let middle = middle(frame, row);
        let (Some(mean), deviation) = method.mean_and_deviation(scope) else {
            continue;
        };
        let corners = [(start, middle - 8), (x(mean), middle + 8)];
        block(area, corners, colour.mix(0.55).filled())?;
        let mut end = x(mean);
        if let Some(deviation) = deviation {
            let (low, high) = (x(mean - deviation), x(mean + deviation));
            let ink = INK.stroke_width(1);
            line(area, vec![(low, middle), (high, middle)], ink)?;
            for at in [low, high] {
                line(area, vec![(at, middle - 4), (at, middle + 4)], ink)?;
            }
            end = end.max(high);
        }
        let style = text(12.0, INK, HPos::Left, VPos::Center);
        let label = format!("{:.1}", mean * 100.0);
        write(area, &label, &style, (end + 5, middle))?;
    }
    frame.upright(area, start, GREY)
}
