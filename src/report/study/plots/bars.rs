//! Bars of the methods with error bars: total, head, medium and tail side by side.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{block, line, nice_step, small, title};
use crate::error::Result;
use crate::metrics::Scope;
use crate::report::drawing::{
    CHARACTER, FAINT, GREY, INK, failed, group_colour, sheet, shown as cut, text,
};
use crate::report::study::Study;

/// Height of a method's row.
const ROW: i32 = 26;

#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
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
    let step = nice_step(highest, 4.0).max(0.01);
    // A bar of errors may reach beyond 100 %, the axis does not.
    let ceiling = ((highest / step).ceil() * step).min(1.0);
    let (top, gap) = (64, 14);
    let panel = (1000 - left - 4 * gap - 8) / 4;
    // The figures stand to the right of the bars, in their panel.
    let width = panel - 44;
    let rows = study.methods.len() as i32;
    let bottom = top + rows * ROW;
    let svg = sheet((1000, (bottom + 34) as u32), |area| {
        let seeds = study.methods.iter().any(|m| m.seeds.len() > 1);
        let spread = if seeds {
            ", error bars: standard deviation over seeds"
        } else {
            ""
        };
        title(area, &format!("mAP, %{spread}"), 12)?;
        for (column, scope) in Scope::ALL.into_iter().enumerate() {
            let start = left + column as i32 * (panel + gap);
            let x = |score: f64| {
                start + (score.min(ceiling) / ceiling * f64::from(width)).round() as i32
            };
            let colour = scope.group().map_or(GREY, group_colour);
            let style = text(13.0, colour, HPos::Left, VPos::Bottom);
            area.draw_text(scope.name(), &style, (start, top - 6))
                .map_err(failed)?;
            if study.methods.iter().all(|m| m.means()[scope].is_none()) {
                small(
                    area,
                    "no class with an AP",
                    (start, top + 6),
                    HPos::Left,
                    VPos::Top,
                )?;
                continue;
            }
            for tick in 0..=(ceiling / step).floor() as usize {
                let score = tick as f64 * step;
                line(
                    area,
                    vec![(x(score), top), (x(score), bottom)],
                    FAINT.stroke_width(1),
                )?;
                let label = format!("{:.0}", score * 100.0);
                small(
                    area,
                    &label,
                    (x(score), bottom + 6),
                    HPos::Center,
                    VPos::Top,
                )?;
            }
            for (row, method) in study.methods.iter().enumerate() {
                let middle = top + row as i32 * ROW + ROW / 2;
                let (Some(mean), deviation) = method.mean_and_deviation(scope) else {
                    continue;
                };
                let corners = [(start, middle - 8), (x(mean), middle + 8)];
                block(area, corners, colour.mix(0.55).filled())?;
                let mut end = x(mean);
                if let Some(deviation) = deviation {
                    let (low, high) = (x((mean - deviation).max(0.0)), x(mean + deviation));
                    let ink = INK.stroke_width(1);
                    line(area, vec![(low, middle), (high, middle)], ink)?;
                    for at in [low, high] {
                        line(area, vec![(at, middle - 4), (at, middle + 4)], ink)?;
                    }
                    end = end.max(high);
                }
                let style = text(12.0, INK, HPos::Left, VPos::Center);
                let label = format!("{:.1}", mean * 100.0);
                area.draw_text(&label, &style, (end + 5, middle))
                    .map_err(failed)?;
            }
            line(
                area,
                vec![(start, top), (start, bottom)],
                GREY.stroke_width(1),
            )?;
        }
        for (row, name) in names.iter().enumerate() {
            let middle = top + row as i32 * ROW + ROW / 2;
            let style = text(13.0, INK, HPos::Right, VPos::Center);
            area.draw_text(name, &style, (left - 8, middle))
                .map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}
