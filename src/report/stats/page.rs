//! The report as one HTML page that needs no other file.

use minijinja::{Environment, context};

use crate::data::split::Split;
use crate::error::{Error, Result};

use super::SplitStatistics;

/// Fills the page's template.
pub(super) fn render(
    split: &Split,
    statistics: &SplitStatistics,
    name: &str,
    pictures: &[(&str, String)],
) -> Result<String> {
    let failed = |e: minijinja::Error| Error::input("report.html", e);
    let mut environment = Environment::new();
    // The ending turns on escaping: class names come from the user's files.
    environment
        .add_template("page.html", include_str!("page.html"))
        .map_err(failed)?;
    let template = environment.get_template("page.html").map_err(failed)?;
    let largest = statistics.classes.first().map_or(0, |row| row.train);
    let settings = toml::to_string(&split.manifest.config).unwrap_or_default();
    let svgs: Vec<&str> = pictures.iter().map(|(_, svg)| svg.as_str()).collect();
    template
        .render(context! {
            name,
            settings,
            svgs,
            largest,
            fewest_together => super::FEWEST_TOGETHER,
            s => statistics,
            thresholds => split.thresholds,
            hash => split.hash,
        })
        .map_err(failed)
}
