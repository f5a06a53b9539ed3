//! The page about a search for settings: what was tried, what was chosen, and what scores that
//! reached.

mod curves;
mod f1;
mod method;

use std::path::Path;

use minijinja::context;
use serde::Serialize;

use crate::error::Result;
use crate::io::write_text;
use crate::metrics::{PerGroup, Scope};
use crate::report::page;
use crate::report::table::{percent, spread};

pub use f1::{F1Row, ThresholdRow, at_thresholds, thresholds};
pub use method::{F1Runs, Method};

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct Page {
    /// The tuning's name.
    pub title: String,
    /// Facts about the search: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// The methods, in the order of the tuning file.
    pub methods: Vec<Method>,
    /// Every set: name, images, hash of its pictures, hash of its split.
    pub sets: Vec<(String, usize, String, String)>,
    /// The drawing of the final runs' mean ranks, and its description in words.
    pub ranks: Option<(String, String)>,
    /// The expected mAP of a random order of the test images, in [0, 1], once it is known.
    pub chance: Option<PerGroup<Option<f64>>>,
}

/// A row of the page's table of methods.
#[derive(Serialize)]
struct Row {
    name: String,
    setting: String,
    at_edge: String,
    settings: usize,
    trainings: usize,
    diverged: usize,
    map: String,
    folds: String,
    finals: Vec<String>,
    /// Micro and macro F1 of each group.
    f1: Vec<[String; 2]>,
    rank: String,
    groups: String,
    runs: usize,
}

impl Page {
    /// Writes `index.html`, `curves.svg` and `ranks.svg` into `folder`.
    ///
    /// # Errors
    /// Fails if a picture cannot be drawn or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let curves = curves::draw(&self.methods)?;
        if let Some(curves) = &curves {
            write_text(&folder.join("curves.svg"), curves)?;
        }
        if let Some((ranks, _)) = &self.ranks {
            write_text(&folder.join("ranks.svg"), ranks)?;
        }
        let rows: Vec<Row> = self.methods.iter().map(row).collect();
        let context = context! {
            title => self.title,
            facts => self.facts,
            groups => Scope::ALL,
            with_f1 => self.methods.iter().any(|m| !m.f1.total.micro.is_empty()),
            tested => rows.iter().any(|row| row.runs > 0),
            methods => rows,
            sets => self.sets,
            ranks => self.ranks,
            chance => self.chance.map(|chance| Scope::ALL.map(|scope| percent(chance[scope]))),
            key => self.methods.first().map(|method| method.key.as_str()),
            curves,
        };
        let page = page::render("index.html", include_str!("page.html"), context)?;
        write_text(&folder.join("index.html"), &page)
    }
}

fn row(method: &Method) -> Row {
    let folds = match (method.lowest, method.highest) {
        (Some(low), Some(high)) => format!("{} to {}", percent(Some(low)), percent(Some(high))),
        _ => String::new(),
    };
    Row {
        name: method.name.clone(),
        setting: method.setting.clone(),
        at_edge: method.at_edge.clone(),
        settings: method.settings,
        trainings: method.trainings,
        diverged: method.diverged,
        map: percent(method.map),
        folds,
        finals: (Scope::ALL.iter())
            .map(|&scope| spread(&method.finals[scope]))
            .collect(),
        f1: (Scope::ALL.iter())
            .map(|&scope| {
                let F1Runs {
                    micro,
                    macro_average,
                } = &method.f1[scope];
                [spread(micro), spread(macro_average)]
            })
            .collect(),
        rank: (method.rank).map_or(String::new(), |rank| format!("{rank:.2}")),
        groups: method.groups.clone(),
        runs: method.finals.total.len(),
    }
}
