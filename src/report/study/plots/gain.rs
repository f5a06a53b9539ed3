//! Gain of every method over the baseline, class by class, the classes by falling training count.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{block, line, nice_step, small, title};
use crate::data::labels::Group;
use crate::error::Result;
use crate::report::drawing::{
    CHARACTER, FAINT, GREY, INK, failed, group_colour, sheet, shown as cut, text, upwards,
};
use crate::report::study::Study;

/// Height of a method's strip, and of the space above it for its name.
const STRIP: i32 = 92;
const HEAD: i32 = 24;
/// Above this many classes their names are left out.
const MOST_NAMED: usize = 120;

#[expect(
    clippy::too_many_lines,
    reason = "one chart, from its frame to its legend"
)]
pub(super) fn draw(study: &Study) -> Result<Option<String>> {
    let order = study.class_order();
    let classes = study.classes();
    let base = &study.baseline().class_scores;
    let gains: Vec<(&str, Vec<Option<f64>>)> = (study.others())
        .map(|method| {
            let gain = |&class: &usize| Some(method.class_scores[class]? - base[class]?);
            (method.title.as_str(), order.iter().map(gain).collect())
        })
        .collect();
    let values = || gains.iter().flat_map(|(_, gains)| gains.iter().flatten());
    if values().count() == 0 {
        return Ok(None);
    }
    let (lowest, highest) = values().fold((0.0f64, 0.0f64), |(low, high), &gain| {
        (low.min(gain), high.max(gain))
    });
    let step = nice_step((highest - lowest).max(0.01), 4.0);
    let (floor, ceiling) = (
        (lowest / step).floor() * step,
        (highest / step).ceil() * step,
    );

    let font = if classes.len() <= 40 { 13.0 } else { 10.0 };
    let names: Vec<String> = (order.iter())
        .map(|&class| {
            format!(
                "{} ({})",
                cut(&classes[class].name),
                classes[class].train_count
            )
        })
        .collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let below = match classes.len() <= MOST_NAMED {
        true => (longest as f64 * font * CHARACTER) as i32 + 20,
        false => 24,
    };
    let (left, top) = (56, 40);
    let width = 1000 - left - 16;
    let pitch = f64::from(width) / order.len() as f64;
    let x = |place: f64| left + (place * pitch).round() as i32;
    let height = top + gains.len() as i32 * (STRIP + HEAD) + below;
    let svg = sheet((1000, height as u32), |area| {
        let label = format!(
            "Gain in AP over {} by class, points",
            study.baseline().title
        );
        title(area, &label, 12)?;
        for (number, (name, gains)) in gains.iter().enumerate() {
            let start = top + number as i32 * (STRIP + HEAD) + HEAD;
            let y = |gain: f64| {
                let part = (gain - floor) / (ceiling - floor);
                start + STRIP - (part * f64::from(STRIP)).round() as i32
            };
            let style = text(13.0, INK, HPos::Left, VPos::Bottom);
            area.draw_text(name, &style, (left, start - 4))
                .map_err(failed)?;
            for group in Group::ALL {
                let of_group = |&place: &usize| classes[order[place]].group == group;
                let places: Vec<usize> = (0..order.len()).filter(of_group).collect();
                if let (Some(&first), Some(&last)) = (places.first(), places.last()) {
                    let corners = [
                        (x(first as f64), start),
                        (x(last as f64 + 1.0), start + STRIP),
                    ];
                    block(area, corners, group_colour(group).mix(0.07).filled())?;
                    if number == 0 {
                        let style = text(12.0, group_colour(group), HPos::Right, VPos::Bottom);
                        let at = (corners[1].0 - 2, start - 4);
                        area.draw_text(&group.to_string(), &style, at)
                            .map_err(failed)?;
                    }
                }
            }
            for tick in 0..=((ceiling - floor) / step).round() as usize {
                let gain = floor + tick as f64 * step;
                line(
                    area,
                    vec![(left, y(gain)), (left + width, y(gain))],
                    FAINT.stroke_width(1),
                )?;
                let label = match gain.abs() < step / 2.0 {
                    true => "0".into(),
                    false => format!("{:+.0}", gain * 100.0),
                };
                small(area, &label, (left - 6, y(gain)), HPos::Right, VPos::Center)?;
            }
            for (place, gain) in gains.iter().enumerate() {
                let Some(gain) = *gain else { continue };
                let edge = 0.5 - 0.38;
                let (from, to) = (x(place as f64 + edge), x(place as f64 + 1.0 - edge));
                let (upper, lower) = (y(gain.max(0.0)), y(gain.min(0.0)));
                let colour = group_colour(classes[order[place]].group);
                // Something is seen even of a gain of nothing.
                let corners = [(from, upper), (to.max(from + 1), lower.max(upper + 1))];
                block(area, corners, colour.filled())?;
            }
            line(
                area,
                vec![(left, y(0.0)), (left + width, y(0.0))],
                GREY.stroke_width(1),
            )?;
        }
        let bottom = top + gains.len() as i32 * (STRIP + HEAD);
        if classes.len() <= MOST_NAMED {
            for (place, name) in names.iter().enumerate() {
                let style = upwards(font, INK, HPos::Right, VPos::Center);
                let at = (x(place as f64 + 0.5), bottom + 8);
                area.draw_text(name, &style, at).map_err(failed)?;
            }
        } else {
            let label = format!("{} classes by training images", classes.len());
            small(
                area,
                &label,
                (left + width / 2, bottom + 6),
                HPos::Center,
                VPos::Top,
            )?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}
