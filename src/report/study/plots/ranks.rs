//! Plot of the mean ranks with the critical difference: one row per method, by ascending rank, and
//! a vertical line beside each group of methods that are not significantly different. Narrow enough
//! for the screen of a phone.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::Result;
use crate::metrics::{Ranking, Scope};
use crate::report::chart::{Frame, Pixel, dot, line, nice_step, small, title, write};
use crate::report::drawing::{
    Area, CHARACTER, FAINT, GREY, INK, SERIES, sheet, shown as cut, text,
};
use crate::report::study::{Ranks, Study};

/// Height of a method's row.
const ROW: i32 = 22;
/// Distance between the lines of neighbouring groups.
const LANE: i32 = 9;
/// Width of the sheet, if the names and the groups leave enough room.
const WIDTH: i32 = 460;
/// Smallest width of the plotting area.
const PLOT: i32 = 120;
/// Top of the rows: the title, a line of text and the critical difference are above them.
const TOP: i32 = 96;

pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let Some(ranks) = study.ranks[Scope::Total].as_ref() else {
        return Ok(None);
    };
    let ranking = &ranks.ranking;
    let Some(far) = ranking.critical_difference else {
        return Ok(None);
    };
    let order = ranks.order();
    let names: Vec<String> = (order.iter())
        .map(|&(place, _)| cut(&study.methods[place].title))
        .collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let left = 20 + (longest as f64 * 13.0 * CHARACTER * 1.1) as i32;
    let lines = lanes(ranks, &order);
    let lanes = lines.iter().map(|(lane, _)| lane + 1).max().unwrap_or(0);
    let beside = 16 + lanes * LANE;
    let width = (WIDTH - left - beside).max(PLOT);
    let frame = Frame {
        left,
        top: TOP,
        width,
        height: order.len() as i32 * ROW,
    };
    let size = (frame.right() + beside, frame.bottom() + 30);
    let svg = sheet((size.0 as u32, size.1 as u32), |area| {
        title(area, "Mean rank by total mAP", (12, 8))?;
        small(
            area,
            "a line on the right joins methods that are not told apart",
            (12, 34),
            HPos::Left,
            VPos::Top,
        )?;
        axis(area, &frame, ranking, far)?;
        for (row, (&(_, rank), name)) in (0..).zip(order.iter().zip(&names)) {
            mark(area, &frame, ranking, rank, (name, row))?;
        }
        for (lane, (first, last)) in &lines {
            let x = frame.right() + 14 + lane * LANE;
            let ends = [
                (x, middle(&frame, *first) - 6),
                (x, middle(&frame, *last) + 6),
            ];
            line(area, ends.to_vec(), INK.stroke_width(3))?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// Returns the y pixel of the middle of a row.
fn middle(frame: &Frame, row: i32) -> i32 {
    frame.top + row * ROW + ROW / 2
}

/// Returns the x pixel of a rank.
fn x(frame: &Frame, ranking: &Ranking, rank: f64) -> i32 {
    let last = (ranking.means.len() as f64 - 1.0).max(1.0);
    frame.x(((rank - 1.0) / last).clamp(0.0, 1.0))
}

/// Draws the grid, the ticks, and the critical difference as a length above them.
fn axis(area: &Area, frame: &Frame, ranking: &Ranking, far: f64) -> Result<()> {
    let last = ranking.means.len() as f64;
    let step = nice_step(last - 1.0, 4.0).max(1.0);
    // Ticks start at 1; with wide steps they are at multiples of the step.
    let begin = if step < 5.0 { 1.0 } else { 0.0 };
    let ticks = (0..)
        .map(|k| begin + f64::from(k) * step)
        .take_while(|rank| *rank <= last);
    for rank in ticks.map(|rank: f64| rank.max(1.0)) {
        let at = x(frame, ranking, rank);
        frame.upright(area, at, FAINT)?;
        frame.below(area, &format!("{rank}"), at)?;
    }
    let label = format!("critical difference {far:.2}");
    let above = frame.top - 12;
    let at = match far < last - 1.0 {
        true => {
            let end = x(frame, ranking, 1.0 + far);
            let style = GREY.stroke_width(2);
            line(area, vec![(frame.left, above), (end, above)], style)?;
            for edge in [frame.left, end] {
                line(area, vec![(edge, above - 4), (edge, above + 4)], style)?;
            }
            (frame.left, above - 8)
        }
        // Longer than the axis: no methods are significantly different.
        false => (frame.left, above),
    };
    small(area, &label, at, HPos::Left, VPos::Bottom)
}

/// Draws a method's name, dot and rank.
fn mark(
    area: &Area,
    frame: &Frame,
    ranking: &Ranking,
    rank: f64,
    (name, row): (&str, i32),
) -> Result<()> {
    let y = middle(frame, row);
    let at: Pixel = (x(frame, ranking, rank), y);
    let style = text(13.0, INK, HPos::Right, VPos::Center);
    write(area, name, &style, (frame.left - 8, y))?;
    // The rank is written on the side that has room, and the row's line ends before it.
    let (side, to, end) = match at.0 > frame.left + frame.width * 2 / 3 {
        true => (HPos::Right, at.0 - 8, at.0 - 36),
        false => (HPos::Left, at.0 + 8, at.0),
    };
    let ends = vec![(frame.left, y), (end.max(frame.left), y)];
    line(area, ends, FAINT.stroke_width(1))?;
    dot(area, at, 4, SERIES[0].filled())?;
    small(area, &format!("{rank:.1}"), (to, y), side, VPos::Center)
}

/// Returns the lane of each group and its first and last row; each group takes the first lane that
/// is free there.
fn lanes(ranks: &Ranks, order: &[(usize, f64)]) -> Vec<(i32, (i32, i32))> {
    let row = |method: &usize| {
        order
            .iter()
            .position(|(other, _)| other == method)
            .unwrap_or(0) as i32
    };
    let mut taken: Vec<i32> = Vec::new();
    (ranks.groups())
        .map(|group| {
            let rows = || group.iter().map(row);
            let span = (rows().min().unwrap_or(0), rows().max().unwrap_or(0));
            let lane = match taken.iter().position(|last| *last < span.0) {
                Some(free) => free,
                None => {
                    taken.push(span.1);
                    taken.len() - 1
                }
            };
            taken[lane] = span.1;
            (lane as i32, span)
        })
        .collect()
}
