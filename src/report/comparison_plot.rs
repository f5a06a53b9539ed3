//! Plot of the AP of every class under every method: classes by descending training count, groups
//! shaded.

use plotters::prelude::*;

use super::chart::{ClassNames, Frame, Legend, Name, Scale, counted, dot, line, points, title};
use super::class_scores::ClassScore;
use super::drawing::{GREY, SERIES, sheet};
use crate::data::labels::Group;
use crate::error::Result;

/// AP by class for one method, averaged over seeds; the classes are those of the comparison, in the
/// same order.
pub(super) struct Series<'a> {
    /// The method's name.
    pub method: &'a str,
    /// AP of each class, in [0, 1]; `None` where undefined.
    pub average_precision: Vec<Option<f64>>,
}

/// Draws the plot. `classes` supplies names, groups and training counts.
pub(super) fn draw(heading: &str, classes: &[ClassScore], series: &[Series]) -> Result<String> {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(classes[i].train_count));
    let groups: Vec<Group> = order.iter().map(|&i| classes[i].group).collect();
    let label = |&i: &usize| counted(&classes[i].name, classes[i].train_count);
    let names = ClassNames::new(order.iter().map(label));
    let (left, width, height) = (52, 928, 320);
    let colours = SERIES.into_iter().cycle();
    let legend = Legend::new(series.iter().map(|s| s.method).zip(colours.clone()), width);
    let frame = Frame {
        left,
        top: 46 + legend.height,
        width,
        height,
    };
    // With many classes, large dots would hide one another.
    let radius = if classes.len() <= 40 { 5 } else { 3 };

    sheet(
        (1000, (frame.bottom() + names.height() + 4) as u32),
        |area| {
            title(area, heading, (left, 8))?;
            legend.draw(area, (left, 33))?;
            frame.bands(area, &groups, Name::Inside)?;
            frame.levels(area, &Scale::WHOLE, points)?;
            frame.y_title(area, "AP, %")?;
            for (place, &class) in order.iter().enumerate() {
                let middle = frame.x((place as f64 + 0.5) / order.len() as f64);
                let scores = || series.iter().map(|s| s.average_precision[class]);
                let low = scores().flatten().fold(f64::INFINITY, f64::min);
                let high = scores().flatten().fold(f64::NEG_INFINITY, f64::max);
                if low <= high {
                    let ends = vec![(middle, frame.y(low)), (middle, frame.y(high))];
                    line(area, ends, GREY.mix(0.5).stroke_width(2))?;
                }
                for (score, colour) in scores().zip(colours.clone()) {
                    if let Some(score) = score {
                        dot(area, (middle, frame.y(score)), radius, colour.filled())?;
                    }
                }
            }
            names.draw(area, &frame)
        },
    )
}
