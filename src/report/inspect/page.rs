//! Rendering of the page itself.

use minijinja::context;
use serde::Serialize;

use super::look::{BINS, Look};
use super::pictures::{self, Wanted};
use super::plots::share;
use super::{classes, plots, suspects};
use crate::data::split::Set;
use crate::error::Result;
use crate::metrics::{PairKind, Scope};
use crate::report::drawing::{SERIES, group_colour};
use crate::report::page;

/// Number of pairs listed of each kind.
const PAIRS: usize = 15;

/// A reliability curve on the page.
#[derive(Serialize)]
struct Panel {
    scope: Scope,
    error: String,
    svg: String,
}

/// A row of the table of co-occurring errors.
#[derive(Serialize)]
struct Pair<'a> {
    classes: [&'a str; 2],
    together: u64,
    each: [u64; 2],
    expected: String,
}

/// Pairs of one kind.
#[derive(Serialize)]
struct Pairs<'a> {
    title: &'static str,
    columns: [&'static str; 2],
    all: usize,
    rows: Vec<Pair<'a>>,
}

/// Reads the pictures and fills the page's template.
pub(super) fn render(look: &Look) -> Result<String> {
    let mut wanted = Wanted::default();
    let classes = (look.classes.iter())
        .map(|&class| classes::class(look, class, &mut wanted))
        .collect::<Result<Vec<_>>>()?;
    let searched = suspects::searched(look, &mut wanted)?;
    let options = look.options;
    let pictures = pictures::read(&wanted, &look.parts, options.side, options.most_bytes)?;
    let panels = panels(look)?;
    let fitted = look.thresholds.fitted.iter().flatten().count();
    let context = context! {
        title => options.title,
        facts => facts(look),
        set => look.part().name(),
        trained_on => look.part().is(Set::Train),
        fitted_here => look.part().is(Set::Validation),
        fitted,
        class_count => look.groups.len(),
        bins => BINS,
        classes,
        panels,
        pairs => pairs(look),
        searched,
        pictures => pictures.shown,
        remarks => pictures.remarks,
    };
    page::render("inspect.html", include_str!("page.html"), context)
}

/// Returns the facts about what was inspected: name and value.
fn facts(look: &Look) -> Vec<(&'static str, String)> {
    let mut facts = look.options.facts.clone();
    facts.push(("looked at", look.part().name()));
    facts.push(("pictures", look.part().table.len().to_string()));
    let classes = look.groups.len();
    facts.push((
        "classes",
        match look.classes.len() == classes {
            true => classes.to_string(),
            false => format!("{} of {classes}", look.classes.len()),
        },
    ));
    for (scope, map) in look.evaluation.groups().means.iter() {
        if let Some(map) = map {
            facts.push((
                match scope {
                    Scope::Total => "mAP",
                    Scope::Head => "mAP, head",
                    Scope::Medium => "mAP, medium",
                    Scope::Tail => "mAP, tail",
                },
                share(*map),
            ));
        }
    }
    facts
}

fn panels(look: &Look) -> Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for scope in Scope::ALL {
        let curve = look.reliability(scope)?;
        if let Some(error) = curve.error() {
            let colour = scope.group().map_or(SERIES[6], group_colour);
            panels.push(Panel {
                scope,
                error: format!("{:.2} %", error * 100.0),
                svg: plots::reliability(&curve, colour)?,
            });
        }
    }
    Ok(panels)
}

fn pairs<'a>(look: &'a Look) -> Vec<Pairs<'a>> {
    let kinds = [
        (
            PairKind::Confused,
            "Taken for each other",
            ["predicted and not there", "there and missed"],
        ),
        (
            PairKind::BothInvented,
            "Predicted together, neither there",
            ["class", "class"],
        ),
        (PairKind::BothMissed, "Missed together", ["class", "class"]),
    ];
    let of_kind = |(kind, title, columns)| {
        let own = || look.pairs.iter().filter(|pair| pair.kind == kind);
        let row = |pair: &crate::metrics::ErrorPair| Pair {
            classes: pair.classes.map(|class| look.class(class)),
            together: pair.together,
            each: pair.each,
            expected: format!("{:.1}", pair.expected),
        };
        Pairs {
            title,
            columns,
            all: own().count(),
            rows: own().take(PAIRS).map(row).collect(),
        }
    };
    kinds.map(of_kind).into()
}
