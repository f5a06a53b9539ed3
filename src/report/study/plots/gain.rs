//! Plot of the gain of every method over the baseline, class by class, by descending training
//! count.

use plotters::prelude::*;

use crate::data::labels::Group;
use crate::error::Result;
use crate::report::chart::{ClassNames, Frame, Name, Scale, block, counted, panel_title, title};
use crate::report::drawing::{Area, GREY, INK, group_colour, sheet};
use crate::report::study::Study;

/// Height of a method's strip, then of the space above it for its name.
const STRIP: i32 = 92;
const HEAD: i32 = 24;

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
    let lowest = values().copied().fold(0.0f64, f64::min);
    let highest = values().copied().fold(0.0f64, f64::max);
    let scale = Scale::new(lowest, highest.max(lowest + 0.01), 4.0);
    let groups: Vec<Group> = order.iter().map(|&class| classes[class].group).collect();
    let name = |&class: &usize| counted(&classes[class].name, classes[class].train_count);
    let names = ClassNames::new(order.iter().map(name));
    let frame = |number: i32| Frame {
        left: 56,
        top: 40 + number * (STRIP + HEAD) + HEAD,
        width: 928,
        height: STRIP,
    };
    let last = frame(gains.len() as i32 - 1);
    let svg = sheet((1000, (last.bottom() + names.height()) as u32), |area| {
        let baseline = &study.baseline().title;
        let label = format!("Gain in AP over {baseline} by class, points");
        title(area, &label, (12, 8))?;
        for (number, (name, gains)) in (0..).zip(&gains) {
            let frame = frame(number);
            panel_title(area, name, INK, (frame.left, frame.top))?;
            let named = if number == 0 { Name::Above } else { Name::None };
            frame.bands(area, &groups, named)?;
            strip(area, gains, &groups, &frame, &scale)?;
        }
        names.draw(area, &last)
    })?;
    Ok(Some(svg))
}

/// Draws the gains of one method, over the group bands.
fn strip(
    area: &Area,
    gains: &[Option<f64>],
    groups: &[Group],
    frame: &Frame,
    scale: &Scale,
) -> Result<()> {
    frame.levels(area, scale, |gain| match gain.abs() < scale.step / 2.0 {
        true => "0".into(),
        false => format!("{:+.0}", gain * 100.0),
    })?;
    let x = |place: f64| frame.x(place / gains.len() as f64);
    let y = |gain: f64| frame.y(scale.part(gain));
    for (place, (gain, group)) in gains.iter().zip(groups).enumerate() {
        let Some(gain) = *gain else { continue };
        let edge = 0.5 - 0.38;
        let (from, to) = (x(place as f64 + edge), x(place as f64 + 1.0 - edge));
        let (upper, lower) = (y(gain.max(0.0)), y(gain.min(0.0)));
        // Even a gain of zero is visible.
        let corners = [(from, upper), (to.max(from + 1), lower.max(upper + 1))];
        block(area, corners, group_colour(*group).filled())?;
    }
    frame.level(area, y(0.0), GREY)
}
