//! Scores on a set that is annotated for only some of the classes.

use super::{Evaluation, Options, TrainedOn};
use crate::data::labels::{Group, LabelTable};
use crate::error::Result;
use crate::metrics::GroupScores;
use crate::predict::Predictions;
use crate::report::class_scores::ClassScore;

impl Evaluation {
    /// Like [`Evaluation::new`], where `annotated` tells for each class whether the images are
    /// annotated for it. Predictions of the other classes count as neither right nor wrong: those
    /// classes have no scores and enter no mean.
    ///
    /// # Errors
    /// As [`Evaluation::new`].
    pub fn partial(
        predictions: &Predictions,
        table: &LabelTable,
        trained_on: &TrainedOn,
        options: &Options,
        annotated: &[bool],
    ) -> Result<Self> {
        let keep = |class: usize| annotated.get(class).copied().unwrap_or(false);
        let known: Vec<usize> = (0..table.num_classes()).filter(|&c| keep(c)).collect();
        if known.len() == table.num_classes() {
            return Evaluation::new(predictions, table, trained_on.clone(), options);
        }
        let rows = predictions.scores.chunks(table.num_classes());
        let columns = rows.flat_map(|row| known.iter().map(|&class| row[class]));
        let narrow = Predictions {
            classes: known.iter().map(|&c| table.classes()[c].clone()).collect(),
            images: predictions.images.clone(),
            scores: columns.collect(),
            scale: predictions.scale,
        };
        let thresholds = match &options.thresholds[..] {
            [one] => vec![*one],
            many => known.iter().map(|&class| many[class]).collect(),
        };
        let options = Options {
            thresholds,
            ..options.clone()
        };
        let table_of_known = table.only_classes(annotated);
        let mut scored =
            Evaluation::new(&narrow, &table_of_known, trained_on.only(&known), &options)?;
        let mut found = std::mem::take(&mut scored.classes).into_iter();
        let classes = (0..table.num_classes()).map(|class| match keep(class) {
            true => found.next(),
            false => Some(unscored(
                &table.classes()[class],
                trained_on.groups[class],
                trained_on.counts[class],
            )),
        });
        scored.classes = classes.flatten().collect();
        let precisions: Vec<Option<f64>> = (scored.classes.iter())
            .map(|class| class.average_precision)
            .collect();
        scored.groups = GroupScores::new(&precisions, &trained_on.groups);
        Ok(scored)
    }
}

/// The row of a class that the set is not annotated for.
fn unscored(name: &str, group: Group, train_count: usize) -> ClassScore {
    ClassScore {
        name: name.to_owned(),
        group,
        train_count,
        positives: 0,
        average_precision: None,
        area_under_roc: None,
        precision: None,
        recall: None,
        f1: None,
        accuracy: None,
        low: None,
        high: None,
        doubtful: None,
    }
}
