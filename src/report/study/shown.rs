//! Which methods appear in a picture that draws all methods together, and what it says about the
//! rest.

use plotters::style::RGBColor;

use super::Study;
use super::method::Method;
use crate::report::drawing::SERIES;

/// Returns the methods that are shown, with their colours: the baseline and those with the highest
/// total mAP, as many as there are colours, in the order of the tables.
pub(super) fn shown(study: &Study) -> Vec<(&Method, RGBColor)> {
    let mut places: Vec<usize> = (0..study.methods.len()).collect();
    places.sort_by(|&a, &b| {
        let total = |place: usize| study.methods[place].means().total.unwrap_or(-1.0);
        (b == study.baseline)
            .cmp(&(a == study.baseline))
            .then(total(b).total_cmp(&total(a)))
    });
    places.truncate(SERIES.len());
    places.sort_unstable();
    (places.into_iter().zip(SERIES))
        .map(|(place, colour)| (&study.methods[place], colour))
        .collect()
}

/// Returns the part of a title that says how many methods are shown.
pub(super) fn of_all(study: &Study, shown: usize) -> String {
    match study.methods.len() > shown {
        true => format!(" ({shown} of {} methods)", study.methods.len()),
        false => String::new(),
    }
}
