//! What can be known before a training: refused, or told, at its start and not at its end.

use std::path::Path;

use crate::config::Experiment;
use crate::data::image::OnBadImage;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::memory;
use crate::optim::extent::Unit;

/// Looks for what a run on `split` needs: the sets, and their pictures by a quick look at the disk.
/// `scored` says whether the test set is to be evaluated too; else it may lack pictures, which is
/// told.
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
    } else if let Some(problem) = split.check_pictures(&[Set::Test]).problem() {
        tracing::warn!("test set: {problem}; `dbloss eval` will need them");
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
///
/// # Errors
/// A batch is more than the machine's memory could ever hold.
pub fn tell<'a>(
    experiments: impl IntoIterator<Item = &'a Experiment>,
    split: &Split,
) -> Result<()> {
    let mut told: Vec<String> = Vec::new();
    for experiment in experiments {
        check_split(experiment, split)?;
        let crowded = check_memory(experiment)?;
        for warning in warnings(experiment, Some(split)).into_iter().chain(crowded) {
            if !told.contains(&warning) {
                tracing::warn!("{warning}");
                told.push(warning);
            }
        }
        if let Some(note) = dropped(experiment, split)
            && !told.contains(&note)
        {
            tracing::info!("{note}");
            told.push(note);
        }
    }
    let unlabelled = (0..split.train.len()).filter(|&i| split.train.labels(i).is_empty());
    match unlabelled.count() {
        0 => {}
        1 => tracing::info!("1 training image has no label and counts as a negative"),
        n => tracing::info!("{n} training images have no label and count as negatives"),
    }
    Ok(())
}

/// Refuses what the split cannot give.
fn check_split(experiment: &Experiment, split: &Split) -> Result<()> {
    if experiment.train.early_stopping > 0 && split.validation.is_none() {
        let problem = "needs a validation part, and the split has none";
        return Err(Error::key("train.early_stopping", problem)
            .hint("give one with `split.validation`, or leave `train.early_stopping` out"));
    }
    match &experiment.start {
        Some(start) => start.check(&split.train),
        None => Ok(()),
    }
}

/// What is odd about an experiment, a sentence each. Without a split, what can be said all the
/// same: the length of an epoch is then unknown.
pub fn warnings(experiment: &Experiment, split: Option<&Split>) -> Vec<String> {
    let mut warnings = Vec::new();
    let random = experiment.model.weights.is_empty() && experiment.start.is_none();
    if random && experiment.model.frozen_stages >= 0 {
        warnings.push(format!(
            "stages 0 to {} are frozen but no weights are loaded: they stay random; set \
             `model.weights`, or `model.frozen_stages = -1`",
            experiment.model.frozen_stages
        ));
    }
    let train = &experiment.train;
    let steps = match split {
        Some(split) => train
            .steps_per_epoch(&experiment.sampler, &split.train)
            .ok(),
        // Long enough for any warm-up: what is left is milestones beyond the last epoch.
        None => Some(1 << 24),
    };
    if let Some(steps) = steps {
        let rate = experiment.optimizer.learning_rate;
        warnings.extend(experiment.schedule.misfits(rate, steps, train.epochs));
        if train.reweight_after.steps(Unit::Epoch, steps, train.epochs) >= steps * train.epochs {
            warnings.push(format!(
                "`train.reweight_after` = {} is not before the end of the training: the class \
                 weights never come in; a part of the training fits any length, such as 0.8",
                train.reweight_after
            ));
        }
    }
    warnings
}

/// The images of an epoch that no step sees, in words; `None` if there are none.
fn dropped(experiment: &Experiment, split: &Split) -> Option<String> {
    let images = experiment.sampler.epoch_length(&split.train);
    let batch = experiment.train.batch_size;
    let takes = match experiment.train.accumulation_steps {
        1 => format!("`train.batch_size` = {batch}"),
        count => format!("`train.accumulation_steps` = {count} batches of {batch}"),
    };
    let what = match experiment.train.accumulation_steps {
        1 => "batch",
        _ => "step",
    };
    match images % experiment.train.step_images() {
        0 => None,
        left => Some(format!(
            "an epoch draws {images} images and a step takes {takes}: the last {left} of each \
             epoch are not a full {what} and are left out; others in each, since the order is \
             drawn anew"
        )),
    }
}

/// Refuses a batch that the machine could never hold; a sentence for one that it cannot hold now.
fn check_memory(experiment: &Experiment) -> Result<Option<String>> {
    let (batch, side) = (experiment.train.batch_size, experiment.input.size as usize);
    let need = experiment
        .model
        .backbone_config()
        .training_bytes(batch, side);
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let size = format!(
        "{batch} images of {side} pixels take about {} in a training step of `{}`",
        gigabytes(need),
        experiment.model.backbone
    );
    if let Some(limit) = memory::limit()
        && need > limit
    {
        let problem = format!("{size}, and this machine has {}", gigabytes(limit));
        let fits = batch as u64 * limit / need / 2;
        return Err(Error::key("train.batch_size", problem).hint(format_args!(
            "a batch of {} would leave room for the rest; `input.size` counts twice",
            fits.max(2)
        )));
    }
    let available = memory::available().filter(|available| need > *available);
    Ok(available.map(|free| format!("{size}, and only {} are free now", gigabytes(free))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExperimentFile;

    fn experiment(more: &str) -> Experiment {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.toml");
        let text =
            "name = 'e'\nsplit_folder = 'no-such'\nloss.name = 'bce'\nsampler.kind = 'uniform'\n";
        fs_err::write(&path, format!("{text}{more}")).unwrap();
        let file = ExperimentFile::read(&path, &[]).unwrap();
        file.resolve(None, None).unwrap()
    }

    #[test]
    fn a_batch_beyond_the_machine_is_refused_with_the_estimate() {
        let error = check_memory(&experiment("train.batch_size = 1000000")).unwrap_err();
        let Error::Input(error) = error else {
            panic!("not an input error: {error}")
        };
        assert!(error.to_string().contains("train.batch_size"), "{error}");
        assert!(error.problem.contains("GB"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("a batch of")));
        check_memory(&experiment("train.batch_size = 8")).unwrap();
    }

    #[test]
    fn milestones_beyond_the_end_are_told_without_a_split() {
        let model = "model.frozen_stages = -1\n";
        assert!(warnings(&experiment(model), None).is_empty());
        let told = warnings(&experiment(&format!("{model}train.epochs = 3")), None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("5 and 7"), "{told:?}");
    }
}
