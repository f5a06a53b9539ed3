//! The pictures of a study, as SVG.

use super::shown::{of_all, shown};
use super::{Ranks, Study};
use crate::error::Result;
use crate::report::comparison_plot::{self, Series};

mod bars;
mod counts;
mod gain;
mod learning;
mod precision_recall;
mod ranks;

/// Draws every picture, returned with its file name, in the order of the page. Pictures without
/// data are left out.
pub(super) fn draw(study: &Study) -> Result<Vec<(&'static str, String)>> {
    let pictures = [
        ("methods.svg", bars::draw(study)?),
        ("per_class.svg", Some(per_class(study)?)),
        ("gain.svg", gain::draw(study)?),
        ("ranks.svg", ranks::draw(study)?),
        ("training_count.svg", counts::draw(study)?),
        ("learning.svg", learning::draw(study)?),
        ("precision_recall.svg", precision_recall::draw(study)?),
    ];
    let there = pictures
        .into_iter()
        .filter_map(|(name, svg)| Some((name, svg?)));
    Ok(there.collect())
}

impl Study {
    /// Draws the mean ranks and describes them in words; `None` if there are fewer than two methods
    /// or two blocks.
    ///
    /// # Errors
    /// Fails if it cannot be drawn.
    pub fn rank_picture(&self) -> Result<Option<(String, String)>> {
        let words = self.ranks().total.as_ref().and_then(Ranks::in_words);
        Ok(ranks::draw(self)?.zip(words))
    }
}

/// Plots the AP of every class, sorted by training count, with the groups shaded.
fn per_class(study: &Study) -> Result<String> {
    let shown = shown(study);
    let series: Vec<Series> = (shown.iter())
        .map(|(method, _)| Series {
            method: &method.title,
            average_precision: method.class_scores.clone(),
        })
        .collect();
    let title = format!(
        "AP by class, training images in brackets{}",
        of_all(study, shown.len())
    );
    comparison_plot::draw(&title, study.classes(), &series)
}
