//! Labels that are probably wrong, as shown on the page.

use serde::Serialize;

use super::classes::{Figure, List, labels};
use super::look::{Look, Shown};
use super::pictures::Wanted;
use super::plots::share;
use crate::data::split::Set;
use crate::error::Result;
use crate::metrics::{Doubt, ScoreTable, Suspect, label_errors};
use crate::report::evaluation::targets;

/// Largest number of suspects of each kind shown for a set.
const MOST: usize = 24;

/// The suspects found in a set of pictures.
#[derive(Debug, Serialize)]
pub(super) struct Searched {
    /// The set in words.
    pub set: String,
    /// Number of its pictures.
    pub images: usize,
    /// Whether the model that scored the pictures was trained on them, in words.
    pub known: &'static str,
    /// Whether the run was trained on these pictures.
    pub trained_on: bool,
    pub lists: Vec<List>,
}

/// Returns the suspects of every part, for the classes that are shown.
pub(super) fn searched(look: &Look, wanted: &mut Wanted) -> Result<Vec<Searched>> {
    let mut all = Vec::new();
    for (number, part) in look.parts.iter().enumerate() {
        let (scores, targets) = (part.probabilities(), targets(&part.table));
        let table = ScoreTable::new(&scores, &targets, part.table.num_classes())?;
        let mut suspects = label_errors(&table)?;
        suspects.retain(|suspect| look.classes.contains(&suspect.class));
        let lists = [
            (Doubt::Missing, "missing-label", "Likely missing"),
            (Doubt::Wrong, "wrong-label", "Likely wrong"),
        ];
        let lists = lists.map(|(doubt, kind, title)| {
            let own: Vec<&Suspect> = suspects.iter().filter(|s| s.doubt == doubt).collect();
            let figure = |(place, suspect): (usize, &&Suspect)| {
                let at = (number, suspect.image);
                let sign = match doubt {
                    Doubt::Missing => "+",
                    Doubt::Wrong => "−",
                };
                Figure {
                    picture: wanted.want(at, place),
                    name: part.table.image(suspect.image).to_owned(),
                    about: Some((sign, look.class(suspect.class).to_owned())),
                    note: share(suspect.probability),
                    labels: labels(look, at),
                }
            };
            List {
                kind,
                title: match own.len() > MOST {
                    true => format!("{title}: the {MOST} most doubtful of {}", own.len()),
                    false => format!("{title}: {}", own.len()),
                },
                figures: own.iter().take(MOST).enumerate().map(figure).collect(),
            }
        });
        all.push(Searched {
            set: part.name(),
            images: part.table.len(),
            known: match &part.set {
                Shown::Own(Set::Train) => "",
                Shown::HeldOut => ", each scored by a training that held it out",
                Shown::Own(_) | Shown::Other(_) => " that the run was not trained on",
            },
            trained_on: part.is(Set::Train),
            lists: lists.into(),
        });
    }
    Ok(all)
}
