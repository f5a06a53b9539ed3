//! Which methods a picture with lines or dots of all shows, and what it says about the rest.

use plotters::style::RGBColor;

use super::Study;
use super::method::Method;
use crate::report::drawing::SERIES;

/// The methods that are shown, with their colours: as many as there are colours, the baseline and
/// those with the highest total mAP, in the order of the tables.
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

/// What a title says about methods that are not shown.
pub(super) fn of_all(study: &Study, shown: usize) -> String {
    match study.methods.len() > shown {
        true => format!(" ({shown} of {} methods)", study.methods.len()),
        false => String::new(),
    }
}
