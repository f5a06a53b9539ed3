//! What can be known before a training: refused, or told, at its start and not at its end.

use std::path::Path;

use crate::config::Experiment;
use crate::data::image::OnBadImage;
use crate::data::split::{Set, Split};
use crate::error::Result;

/// Looks for what a run on `split` needs: the sets, and their pictures by a quick look at the disk.
/// `scored` says whether the test set is to be evaluated too.
///
/// # Errors
/// A set that is needed has no image, or a picture is missing and `experiment` does not say to
/// leave such out.
pub fn check_images(
    experiment: &Experiment,
    split: &Split,
    folder: &Path,
    scored: bool,
) -> Result<()> {
    split.set(Set::Train, folder)?;
    let mut sets = vec![Set::Train];
    sets.extend(split.validation.as_ref().map(|_| Set::Validation));
    if scored {
        split.set(Set::Test, folder)?;
        sets.push(Set::Test);
    }
    let found = split.check_pictures(&sets);
    match experiment.on_bad_image {
        OnBadImage::Error => found.require_all(folder.display()),
        OnBadImage::Skip => {
            if let Some(problem) = found.problem() {
                tracing::warn!("{problem}; they are left out");
            }
            Ok(())
        }
    }
}

/// Tells of settings that run but hardly mean what the user wants, each once for all experiments.
pub fn tell<'a>(experiments: impl IntoIterator<Item = &'a Experiment>, split: &Split) {
    let mut told: Vec<String> = Vec::new();
    for warning in experiments.into_iter().flat_map(warnings) {
        if !told.contains(&warning) {
            tracing::warn!("{warning}");
            told.push(warning);
        }
    }
    let unlabelled = (0..split.train.len()).filter(|&i| split.train.labels(i).is_empty());
    match unlabelled.count() {
        0 => {}
        1 => tracing::info!("1 training image has no label and counts as a negative"),
        n => tracing::info!("{n} training images have no label and count as negatives"),
    }
}

/// What is odd about an experiment, a sentence each.
fn warnings(experiment: &Experiment) -> Vec<String> {
    let mut warnings = Vec::new();
    if experiment.model.weights.is_empty() && experiment.model.frozen_stages >= 0 {
        warnings.push(format!(
            "stages 0 to {} are frozen but no weights are loaded: they stay random; set \
             `model.weights`, or `model.frozen_stages = -1`",
            experiment.model.frozen_stages
        ));
    }
    warnings
}
