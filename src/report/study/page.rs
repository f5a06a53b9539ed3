//! The report as one self-contained HTML page.

use std::collections::BTreeSet;

use minijinja::{Value, context};
use serde::Serialize;

use super::against::Kind;
use super::chance;
use super::collect::short;
use super::images::RECALLS;
use super::published::{Checked, SOURCE};
use super::tables::{AMISS, APART, Mark, marks, p_text, rank_text, signed, spread};
use super::{Splits, Study, experiments};
use crate::error::{Error, Result};
use crate::metrics::{FEW_POSITIVES, PerGroup, Scope};
use crate::progress::human_seconds;
use crate::report::page;
use crate::report::table::percent;
use crate::wording::counted;

/// A cell of a sortable table.
#[derive(Serialize)]
struct Cell {
    text: String,
    /// The value to sort by; `None` sorts by the text.
    value: Option<f64>,
    /// The CSS class of the cell: `best`, `second`, or empty.
    mark: &'static str,
}

fn number(value: Option<f64>, text: String) -> Cell {
    Cell {
        text,
        value,
        mark: "",
    }
}

fn marked(value: Option<f64>, text: String, mark: Mark) -> Cell {
    let mark = match mark {
        Mark::Best => "best",
        Mark::Second => "second",
        Mark::Plain => "",
    };
    Cell { text, value, mark }
}

/// A row: its name, a group that sets its colour, and its cells.
#[derive(Serialize)]
struct Row {
    name: String,
    group: String,
    cells: Vec<Cell>,
}

/// Renders the page's template.
pub(super) fn render(study: &Study, pictures: &[(&'static str, String)]) -> Result<String> {
    let picture = |name: &str| {
        let found = pictures.iter().find(|(other, _)| *other == name);
        found.map(|(_, svg)| svg.as_str())
    };
    let kinds: Vec<Kind> = (Kind::ALL.into_iter())
        .filter(|kind| study.tests.iter().any(|test| test.test == *kind))
        .collect();
    let facts = facts(study);
    let context = context! {
            title => study.title,
            set => study.set.name(),
            facts,
            baseline => study.baseline().title,
            comparing => study.methods.len() > 1,
            groups => Scope::ALL,
            ranked => study.has_ranks(),
            quoted => study.has_published(),
            source => SOURCE,
            scores => scores(study),
            chance => study.chance.is_some(),
            kinds => kinds.iter().map(|kind| kind.title()).collect::<Vec<_>>(),
            interval => kinds.contains(&Kind::JackknifeImages),
            gains => Scope::ALL.map(|scope| gains(study, &kinds, scope)),
            few => FEW_POSITIVES,
            methods => study.methods.iter().map(|m| m.title.as_str()).collect::<Vec<_>>(),
            classes => classes(study),
            settings => study.settings,
            runs => runs(study),
            left_out => left_out(study),
            remarks => study.remarks(),
            others => study.apart(),
            different_splits => study.splits == Splits::Different,
            subsets => study.splits == Splits::Subsets,
            joint => kinds.contains(&Kind::ImagesAndSeeds),
            ranks => Scope::ALL.map(|scope| ranks(study, scope)),
            ranks_in_words => Scope::ALL.map(|scope| Some(study.ranks[scope].as_ref()?.in_words())),
            rank_picture => picture("ranks.svg"),
            bars => picture("methods.svg"),
            per_class => picture("per_class.svg"),
            gain => picture("gain.svg"),
            counts => picture("training_count.svg"),
            learning => picture("learning.svg"),
            curves => curves(study)?.map(Value::from_safe_string),
    };
    page::render("index.html", include_str!("page.html"), context)
}

/// Returns the facts about the runs behind the results: name and value.
fn facts(study: &Study) -> Vec<(&'static str, String)> {
    let manifests = || study.runs.iter().map(|run| &run.manifest);
    let each = |of: &dyn Fn(&crate::run_dir::Manifest) -> String| -> String {
        let values: BTreeSet<String> = manifests().map(of).filter(|v| !v.is_empty()).collect();
        Vec::from_iter(values).join(", ")
    };
    let seconds: f64 = manifests().map(|m| m.train_seconds).sum();
    let seeds: BTreeSet<u64> = manifests().map(|m| m.seed).collect();
    let listed: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let listed = listed.join(", ");
    let seeds = match seeds.len() {
        1 => format!("1 (seed {listed})"),
        count => format!("{count} ({listed})"),
    };
    let classes = study.classes();
    let groups = crate::data::labels::Group::ALL.map(|group| {
        let size = classes.iter().filter(|class| class.group == group).count();
        format!("{size} {group}")
    });
    let facts = [
        ("experiment", experiments(&study.runs).join(", ")),
        ("runs", study.runs.len().to_string()),
        ("methods", study.methods.len().to_string()),
        ("seeds", seeds),
        (
            "classes",
            format!("{}: {}", classes.len(), groups.join(", ")),
        ),
        ("training time in all", human_seconds(seconds)),
        ("trained by dbloss", each(&|m| m.version.clone())),
        ("reported by dbloss", env!("CARGO_PKG_VERSION").to_owned()),
        ("processor", each(&|m| m.processor.clone())),
        (
            "device",
            each(&|m| format!("{}, {}", m.device, counted(m.threads, "thread"))),
        ),
        ("split", each(&|m| short(&m.split_hash))),
    ];
    facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Returns the rows of the main table.
fn scores(study: &Study) -> Vec<Row> {
    let columns = PerGroup::from_fn(|scope| study.marks(scope));
    let row = |(place, method): (usize, &super::Method)| {
        let mut cells = vec![number(
            Some(method.seeds.len() as f64),
            method.seeds_marked(AMISS, APART),
        )];
        for (scope, marks) in columns.iter() {
            let (mean, deviation) = method.mean_and_deviation(scope);
            cells.push(marked(mean, spread(mean, deviation, " ± "), marks[place]));
        }
        if study.has_ranks() {
            let rank = study.rank(place);
            cells.push(number(rank, rank_text(rank)));
        }
        let seconds = method.train_seconds;
        cells.push(number(Some(seconds), human_seconds(seconds)));
        if study.has_published() {
            for scope in Scope::ALL {
                let text = method
                    .published
                    .as_ref()
                    .map_or(String::new(), |published| {
                        let seen = match published.checked {
                            Checked::Row => true,
                            Checked::Total => scope == Scope::Total,
                            Checked::None => false,
                        };
                        format!(
                            "{}{}",
                            published.percent()[scope],
                            if seen { "*" } else { "" }
                        )
                    });
                cells.push(number(text.trim_end_matches('*').parse().ok(), text));
            }
        }
        Row {
            name: method.title.clone(),
            group: String::new(),
            cells,
        }
    };
    let mut rows: Vec<Row> = study.methods.iter().enumerate().map(row).collect();
    if let Some(chance) = &study.chance {
        let blank = || number(None, String::new());
        let means = chance.means.iter();
        let means = means.map(|(_, mean)| number(*mean, percent(*mean)));
        let behind = 1 + usize::from(study.has_ranks()) + if study.has_published() { 4 } else { 0 };
        let cells = std::iter::once(blank()).chain(means);
        rows.push(Row {
            name: chance::NAME.to_owned(),
            group: String::new(),
            cells: cells
                .chain(std::iter::repeat_with(blank).take(behind))
                .collect(),
        });
    }
    rows
}

/// Returns the gains over the baseline in mAP, with their tests.
fn gains(study: &Study, kinds: &[Kind], scope: Scope) -> Vec<Row> {
    let row = |method: &super::Method| {
        let gain = study.gain(method, scope);
        let mut cells = vec![number(gain, gain.map_or(String::new(), signed))];
        for kind in kinds {
            let test = study.test(method, *kind, scope);
            if *kind == Kind::JackknifeImages {
                let (low, text) = study.interval_cell(method, scope);
                cells.push(number(low, text));
            }
            let p = test.and_then(|test| test.p_holm);
            cells.push(marked(
                p,
                p_text(p),
                match p {
                    Some(p) if p < 0.05 => Mark::Best,
                    _ => Mark::Plain,
                },
            ));
        }
        Row {
            name: method.title.clone(),
            group: String::new(),
            cells,
        }
    };
    study.others().map(row).collect()
}

/// Returns the methods by ascending mean rank, with the groups they belong to.
fn ranks(study: &Study, scope: Scope) -> Vec<Row> {
    let Some(ranks) = &study.ranks[scope] else {
        return Vec::new();
    };
    let row = |(place, rank): (usize, f64)| {
        let rank = Some(rank);
        Row {
            name: study.methods[place].title.clone(),
            group: String::new(),
            cells: vec![
                number(rank, rank_text(rank)),
                number(None, ranks.groups_of(place)),
            ],
        }
    };
    ranks.order().into_iter().map(row).collect()
}

/// Returns the AP of every class, by descending training count.
fn classes(study: &Study) -> Vec<Row> {
    let row = |place: usize| {
        let class = &study.classes()[place];
        let scores: Vec<Option<f64>> = (study.methods.iter())
            .map(|m| m.class_scores[place])
            .collect();
        let mut cells = vec![
            number(
                Some(class.train_count as f64),
                class.train_count.to_string(),
            ),
            number(Some(class.positives as f64), class.positives.to_string()),
        ];
        if study.chance.is_some() {
            let chance = study.chance_of(place);
            cells.push(number(chance, percent(chance)));
        }
        let marks = marks(&scores);
        for ((method, score), mark) in study.methods.iter().zip(scores).zip(marks) {
            let deviation = method.class_deviations[place].map_or(String::new(), |deviation| {
                format!("±{:.1}", deviation * 100.0)
            });
            cells.push(marked(
                score,
                format!("{} {deviation}", percent(score)),
                mark,
            ));
        }
        Row {
            name: class.name.clone(),
            group: class.group.to_string(),
            cells,
        }
    };
    study.class_order().into_iter().map(row).collect()
}

fn runs(study: &Study) -> Vec<Row> {
    let row = |run: &super::Run| {
        let manifest = &run.manifest;
        let mut cells = vec![number(
            Some(manifest.seed as f64),
            match run.remarks.is_empty() {
                true => manifest.seed.to_string(),
                false => format!("{}{AMISS}", manifest.seed),
            },
        )];
        for (_, score) in run.groups.means.iter() {
            cells.push(number(*score, percent(*score)));
        }
        let speed = manifest.images_per_second();
        let speed_text = speed.map_or(String::new(), |speed| format!("{speed:.1}"));
        cells.push(number(
            Some(manifest.train_seconds),
            human_seconds(manifest.train_seconds),
        ));
        cells.push(number(speed, speed_text));
        cells.push(number(None, run.folder.display().to_string()));
        Row {
            name: run.method.clone(),
            group: String::new(),
            cells,
        }
    };
    study.runs.iter().map(row).collect()
}

fn left_out(study: &Study) -> Vec<(String, &str)> {
    (study.left_out.iter())
        .map(|out| (out.folder.display().to_string(), out.reason.as_str()))
        .collect()
}

/// Returns the precision by recall of every method and class, in thousandths, as JSON that can be
/// embedded in a page.
fn curves(study: &Study) -> Result<Option<String>> {
    if study.methods.iter().all(|m| m.precision.is_empty()) {
        return Ok(None);
    }
    let order = study.class_order();
    let shown: Vec<&str> = (super::shown::shown(study).iter())
        .map(|(method, _)| method.name.as_str())
        .collect();
    let thousandths = |precision: &Vec<f64>| -> Vec<u32> {
        precision
            .iter()
            .map(|p| (p * 1000.0).round() as u32)
            .collect()
    };
    let methods: Vec<serde_json::Value> = (study.methods.iter())
        .map(|method| {
            let curves: Vec<Option<Vec<u32>>> = (order.iter())
                .map(|&class| method.precision.get(class)?.as_ref().map(thousandths))
                .collect();
            let scores: Vec<Option<f64>> = (order.iter())
                .map(|&class| method.class_scores[class].map(|s| (s * 1e4).round() / 100.0))
                .collect();
            serde_json::json!({
                "name": method.title,
                "shown": shown.contains(&method.name.as_str()),
                "precision": curves,
                "ap": scores,
            })
        })
        .collect();
    let classes: Vec<String> = (order.iter())
        .map(|&class| {
            let class = &study.classes()[class];
            format!(
                "{} ({} training images, {})",
                class.name, class.train_count, class.group
            )
        })
        .collect();
    let data = serde_json::json!({ "recalls": RECALLS, "classes": classes, "methods": methods });
    let text = serde_json::to_string(&data).map_err(|e| Error::input("index.html", e))?;
    // Names come from the user's files: none of them may close the script element.
    Ok(Some(text.replace('<', "\\u003c")))
}
