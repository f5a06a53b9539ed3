//! A class on the page: its scores, its curve, and its errors in pictures.

use serde::Serialize;

use super::look::{BINS, Look};
use super::pictures::Wanted;
use super::plots::{self, share, share_of};
use crate::data::labels::Group;
use crate::error::Result;
use crate::metrics::{PairKind, Reliability, threshold_curve};
use crate::report::table::percent;
use crate::wording::counted;

/// Number of pairs of co-occurring errors listed with a class.
const PAIRS: usize = 5;

/// A picture with its caption.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// Number of the picture on the page.
    pub picture: usize,
    pub name: String,
    /// A sign and the class in question, if it is not the class of the list.
    pub about: Option<(&'static str, String)>,
    /// The picture's score and rank.
    pub note: String,
    /// The picture's labels.
    pub labels: Vec<String>,
}

/// Pictures under a heading.
#[derive(Debug, Serialize)]
pub(super) struct List {
    /// A keyword for scripts.
    pub kind: &'static str,
    pub title: String,
    pub figures: Vec<Figure>,
}

/// A number and its formatted text.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub value: Option<f64>,
    pub text: String,
}

/// A class on the page.
#[derive(Debug, Serialize)]
pub(super) struct Class {
    pub name: String,
    /// The class's index, from which its anchor on the page is made.
    pub number: usize,
    pub group: Group,
    /// The class's cells in the table of classes.
    pub cells: Vec<Cell>,
    /// The same as a sentence.
    pub summary: String,
    /// The threshold in words, and where it comes from.
    pub threshold: String,
    /// Precision, recall and F1 against the threshold.
    pub curve: String,
    /// The classes that its errors co-occur with, one sentence each.
    pub together: Vec<String>,
    pub lists: Vec<List>,
}

/// Returns the labels of an image of a part.
pub(super) fn labels(look: &Look, (part, image): (usize, usize)) -> Vec<String> {
    let table = &look.parts[part].table;
    let labels = table.labels(image).iter();
    labels
        .map(|&class| table.classes()[class as usize].clone())
        .collect()
}

/// The images of a class by descending score; ties are in image order.
struct Ordered {
    /// Image index, logit, and whether the image has the label.
    images: Vec<(usize, f64, bool)>,
}

impl Ordered {
    fn new(look: &Look, class: usize) -> Self {
        let entries = look.scores.class(class).enumerate();
        let mut images: Vec<_> = entries.map(|(i, (score, t))| (i, score, t == 1)).collect();
        images.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ordered { images }
    }

    /// Returns the rank of a score: one more than the number of images above it.
    fn rank(&self, score: f64) -> usize {
        1 + self.images.partition_point(|(_, other, _)| *other > score)
    }
}

/// Builds the section of the page for `class`, and requests the pictures it needs.
pub(super) fn class(look: &Look, class: usize, wanted: &mut Wanted) -> Result<Class> {
    let score = &look.evaluation.classes()[class];
    let threshold = look.thresholds.of(class);
    let counts = threshold_curve(&look.scores, class, &plots::thresholds());
    let error = Reliability::new(&look.calibrated, &[class], BINS)?.error();
    let count = |count: usize| Cell {
        value: Some(count as f64),
        text: count.to_string(),
    };
    let rate = |value: Option<f64>| Cell {
        value,
        text: percent(value),
    };
    let cells = vec![
        count(score.train_count),
        count(score.positives),
        rate(score.average_precision),
        Cell {
            value: Some(threshold),
            text: share_of(threshold),
        },
        rate(score.precision),
        rate(score.recall),
        rate(score.f1),
        rate(error),
    ];
    let fitted = look.thresholds.fitted[class].is_some();
    let whole = score.group == Group::Tail;
    Ok(Class {
        name: score.name.clone(),
        number: class,
        group: score.group,
        summary: format!(
            "{}, {} here, AP {}",
            counted(score.train_count, "training image"),
            score.positives,
            score.average_precision.map_or("undefined".into(), share),
        ),
        threshold: match fitted {
            true => format!(
                "{}, with the best F1 on the validation part",
                share_of(threshold)
            ),
            false => format!("{}, for none could be chosen", share_of(threshold)),
        },
        curve: plots::threshold(&counts, threshold)?,
        together: together(look, class),
        lists: lists(look, class, whole, wanted),
        cells,
    })
}

/// Returns the lists of pictures of a class; with all its positives if `whole` is set.
fn lists(look: &Look, class: usize, whole: bool, wanted: &mut Wanted) -> Vec<List> {
    let (threshold, most) = (look.thresholds.of(class), look.options.per_class);
    let ordered = Ordered::new(look, class);
    let of = ordered.images.len();
    let mut figures = |images: Vec<(usize, f64, bool)>, say_found: bool| -> Vec<Figure> {
        let figure = |(place, (image, score, _)): (usize, (usize, f64, bool))| {
            let found = match (say_found, score > threshold) {
                (false, _) => "",
                (true, true) => ", found",
                (true, false) => ", missed",
            };
            Figure {
                picture: wanted.want((0, image), place),
                name: look.part().table.image(image).to_owned(),
                about: None,
                note: format!(
                    "{}, rank\u{a0}{}{found}",
                    share_of(score),
                    ordered.rank(score)
                ),
                labels: labels(look, (0, image)),
            }
        };
        images.into_iter().enumerate().map(figure).collect()
    };
    let part = |wanted: &dyn Fn(f64, bool) -> bool| -> Vec<(usize, f64, bool)> {
        let images = ordered.images.iter().copied();
        images
            .filter(|(_, score, label)| wanted(*score, *label))
            .collect()
    };
    let cut = |mut images: Vec<(usize, f64, bool)>| {
        images.truncate(most);
        images
    };
    let titled = |what: &str, all: usize| match all > most {
        true => format!("{what}: the worst {most} of {all}"),
        false => format!("{what}: {all}"),
    };
    let mut lists = Vec::new();
    let invented = part(&|score, label| !label && score > threshold);
    match invented.is_empty() {
        false => lists.push(List {
            kind: "false-positive",
            title: titled("False positives", invented.len()),
            figures: figures(cut(invented), false),
        }),
        true => lists.push(List {
            kind: "near",
            title: "No false positive; without the label these score highest".to_owned(),
            figures: figures(cut(part(&|_, label| !label)), false),
        }),
    }
    if whole {
        let all = part(&|_, label| label);
        lists.push(List {
            kind: "positive",
            title: format!("All {} with the label, of {of}, by score", all.len()),
            figures: figures(all, true),
        });
    } else {
        let mut missed = part(&|score, label| label && score <= threshold);
        missed.reverse();
        // Equal scores stay in the order of the images.
        missed.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        lists.push(List {
            kind: "false-negative",
            title: titled("False negatives", missed.len()),
            figures: figures(cut(missed), false),
        });
    }
    lists
}

/// Describes the classes with which the errors of a class co-occur.
fn together(look: &Look, class: usize) -> Vec<String> {
    let own = look
        .pairs
        .iter()
        .filter(|pair| pair.classes.contains(&class));
    let sentence = |pair: &crate::metrics::ErrorPair| {
        let [a, b] = pair.classes;
        // The name keeps its place in the sentence whatever its writing direction.
        let other = look.class(if a == class { b } else { a });
        let other = format!("\u{2068}{other}\u{2069}");
        let what = match pair.kind {
            PairKind::Confused if a == class => format!("predicted where {other} is missed"),
            PairKind::Confused => format!("missed where {other} is predicted wrongly"),
            PairKind::BothInvented => format!("predicted wrongly together with {other}"),
            PairKind::BothMissed => format!("missed together with {other}"),
        };
        let times = counted(pair.together as usize, "picture");
        format!("{what}: {times}, {:.1} by chance", pair.expected)
    };
    own.take(PAIRS).map(sentence).collect()
}
