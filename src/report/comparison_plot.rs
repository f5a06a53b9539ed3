//! AP of every class under every method, the classes by falling training count, the groups shaded.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::class_scores::ClassScore;
use super::drawing::{
    CHARACTER, FAINT, GREY, INK, SERIES, failed, group_colour, sheet, shown, text, upwards,
};
use crate::data::labels::Group;
use crate::error::Result;

/// AP by class for one method: the classes of the comparison, in their order, averaged over seeds.
pub(super) struct Series<'a> {
    /// The method's name.
    pub method: &'a str,
    /// AP of each class, in [0, 1]; `None` where it is undefined.
    pub average_precision: Vec<Option<f64>>,
}

/// Above this many classes their names are left out.
const MOST_NAMED: usize = 120;

/// Draws the picture. `classes` gives names, groups and training counts.
#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
pub(super) fn draw(title: &str, classes: &[ClassScore], series: &[Series]) -> Result<String> {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(classes[i].train_count));
    let font = if classes.len() <= 40 { 13.0 } else { 10.0 };
    let names: Vec<String> = classes.iter().map(label).collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let below = match classes.len() <= MOST_NAMED {
        true => (longest as f64 * font * CHARACTER) as i32 + 14,
        false => 20,
    };
    let (left, right, top, height) = (52, 20, 66, 320);
    let width = 1000 - left - right;
    let step = f64::from(width) / classes.len().max(1) as f64;
    let x = |place: f64| left + (place * step).round() as i32;
    let y = |score: f64| top + height - (score * f64::from(height)).round() as i32;

    sheet((1000, (top + height + below + 10) as u32), |area| {
        let line = |points: Vec<(i32, i32)>, style: ShapeStyle| {
            area.draw(&PathElement::new(points, style)).map_err(failed)
        };
        let write = |label: &str, style: &TextStyle, at: (i32, i32)| {
            area.draw_text(label, style, at).map_err(failed)
        };
        write(title, &text(17.0, INK, HPos::Left, VPos::Top), (left, 8))?;
        let mut at = left;
        for (place, series) in series.iter().enumerate() {
            let colour = SERIES[place % SERIES.len()];
            area.draw(&Circle::new((at + 5, 43), 5, colour.filled()))
                .map_err(failed)?;
            write(
                series.method,
                &text(13.0, INK, HPos::Left, VPos::Center),
                (at + 15, 43),
            )?;
            at += 40 + (series.method.chars().count() as f64 * 13.0 * CHARACTER) as i32;
        }

        for group in Group::ALL {
            let of_group = |&place: &usize| classes[order[place]].group == group;
            let places: Vec<usize> = (0..order.len()).filter(of_group).collect();
            let (Some(first), Some(last)) = (places.first(), places.last()) else {
                continue;
            };
            let corners = [(x(*first as f64), y(1.0)), (x(*last as f64 + 1.0), y(0.0))];
            let shade = group_colour(group).mix(0.07).filled();
            area.draw(&Rectangle::new(corners, shade)).map_err(failed)?;
            let style = text(12.0, group_colour(group), HPos::Right, VPos::Top);
            write(&group.to_string(), &style, (corners[1].0 - 4, y(1.0) + 4))?;
        }
        for tick in 0..=5 {
            let score = f64::from(tick) / 5.0;
            line(
                vec![(left, y(score)), (left + width, y(score))],
                FAINT.stroke_width(1),
            )?;
            let style = text(12.0, GREY, HPos::Right, VPos::Center);
            write(
                &format!("{:.0}", score * 100.0),
                &style,
                (left - 6, y(score)),
            )?;
        }
        let style = upwards(12.0, GREY, HPos::Center, VPos::Top);
        write("AP, %", &style, (4, y(0.5)))?;

        for (place, &class) in order.iter().enumerate() {
            let middle = x(place as f64 + 0.5);
            let scores: Vec<f64> = series
                .iter()
                .filter_map(|s| s.average_precision[class])
                .collect();
            let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if low <= high {
                line(
                    vec![(middle, y(low)), (middle, y(high))],
                    GREY.mix(0.5).stroke_width(2),
                )?;
            }
            for (number, series) in series.iter().enumerate() {
                if let Some(score) = series.average_precision[class] {
                    let colour = SERIES[number % SERIES.len()];
                    // Where the classes stand close, large dots would hide one another.
                    let radius = if classes.len() <= 40 { 5 } else { 3 };
                    let dot = Circle::new((middle, y(score)), radius, colour.filled());
                    area.draw(&dot).map_err(failed)?;
                }
            }
            if classes.len() <= MOST_NAMED {
                let style = upwards(font, INK, HPos::Right, VPos::Center);
                write(&names[class], &style, (middle, y(0.0) + 8))?;
            }
        }
        Ok(())
    })
}

/// Class name and training count: `dog (82)`.
fn label(class: &ClassScore) -> String {
    format!("{} ({})", shown(&class.name), class.train_count)
}
