//! The report as one self-contained HTML page.

use minijinja::context;

use crate::data::split::Split;
use crate::error::Result;
use crate::report::page;

use super::SplitStatistics;

/// Renders the page's template.
pub(super) fn render(
    split: &Split,
    statistics: &SplitStatistics,
    name: &str,
    pictures: &[(&str, String)],
) -> Result<String> {
    let largest = statistics.classes.first().map_or(0, |row| row.train);
    let settings = toml::to_string(&split.manifest.config).unwrap_or_default();
    let svgs: Vec<&str> = pictures.iter().map(|(_, svg)| svg.as_str()).collect();
    let context = context! {
            title => name,
            settings,
            svgs,
            largest,
            fewest_together => super::FEWEST_TOGETHER,
            s => statistics,
            thresholds => split.thresholds,
            hash => split.hash,
    };
    page::render("report.html", include_str!("page.html"), context)
}
