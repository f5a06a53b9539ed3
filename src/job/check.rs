//! Checks before a training, so that problems are rejected or reported at its start and not at its
//! end.

use std::path::Path;

use crate::config::Experiment;
use crate::data::image::OnBadImage;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::memory;
use crate::optim::extent::Unit;

use super::room::{Room, Step, check_memory, check_together, step};

/// Checks that a run on `split` has what it needs: the sets, and their pictures by a quick look at
/// the disk. `scored` says whether the test set will be evaluated too; otherwise it may lack
/// pictures, which is logged.
///
/// # Errors
/// Fails if a required set has no image, or if a picture is missing and `experiment` does not say
/// to skip missing pictures.
pub fn check_images(
    experiment: &Experiment,
    split: &Split,
    folder: &Path,
    scored: bool,
) -> Result<()> {
    split.set(Set::Train, folder)?;
    if experiment.model.features.is_some() {
        // The given features replace the pictures.
        return Ok(());
    }
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
            for file in found.files {
                split.told.add(file);
            }
            Ok(())
        }
    }
}

/// Warns about settings that are valid but probably not intended, each once for all experiments.
///
/// # Errors
/// Fails if a batch, or those of all concurrent runs together, can never fit into the machine's
/// memory.
pub fn tell<'a>(
    experiments: impl IntoIterator<Item = &'a Experiment>,
    split: &Split,
    room: Room,
) -> Result<()> {
    let mut told: Vec<String> = Vec::new();
    let note = |note: String, told: &mut Vec<String>| {
        if !told.contains(&note) {
            tracing::info!("{note}");
            told.push(note);
        }
    };
    let mut steps: Vec<Step> = Vec::new();
    for experiment in experiments {
        check_split(experiment, split).map_err(|e| experiment.locate(e))?;
        match room {
            _ if experiment.model.features.is_some() => {}
            Room::Here { .. } => {
                let step = check_memory(experiment).map_err(|e| experiment.locate(e))?;
                steps.push(step);
            }
            Room::Gpu { runs } => {
                let words = step(experiment).words;
                let times = match runs {
                    1 => String::new(),
                    runs => format!(" for each of {runs} runs at a time"),
                };
                let note_of_gpu =
                    format!("{words}; the GPU needs that much{times}, which is not checked");
                note(note_of_gpu, &mut told);
            }
            Room::Elsewhere => {}
        }
        for warning in warnings(experiment, Some(split)) {
            if !told.contains(&warning) {
                tracing::warn!("{warning}");
                told.push(warning);
            }
        }
        if let Some(dropped) = dropped(experiment, split) {
            note(dropped, &mut told);
        }
        if let Some(interpolated) = interpolated(experiment) {
            note(interpolated, &mut told);
        }
        if let Some(uncounted) = uncounted(experiment) {
            note(uncounted, &mut told);
        }
    }
    if let Room::Here { runs } = room
        && let Some(crowded) = check_together(steps, runs, memory::limit(), memory::available())?
    {
        tracing::warn!("{crowded}");
    }
    let unlabelled = (0..split.train.len()).filter(|&i| split.train.labels(i).is_empty());
    match unlabelled.count() {
        0 => {}
        1 => tracing::info!("1 training image has no label and counts as a negative"),
        n => tracing::info!("{n} training images have no label and count as negatives"),
    }
    Ok(())
}

/// Says that positions are interpolated, if they are.
fn interpolated(experiment: &Experiment) -> Option<String> {
    let (kind, size) = (experiment.model.backbone, experiment.input.size as usize);
    let side = kind.architecture().side().filter(|&side| side != size)?;
    Some(format!(
        "the positions of `{kind}` are for {side} pixels and are interpolated to {size}"
    ))
}

/// Says what to set so that a fixed backbone sees each picture only once; `None` if the backbone
/// learns, or if this is already the case.
fn uncounted(experiment: &Experiment) -> Option<String> {
    let augment = &experiment.input.augment;
    let is_fixed = experiment.model.is_backbone_fixed() && experiment.train.epochs > 0;
    if !is_fixed || augment.versions().is_some() {
        return None;
    }
    let remedy = match augment.mixup {
        Some(_) => "leave out `input.augment.mixup` and set `input.augment.views`",
        None => "set `input.augment.views`, for example to 10",
    };
    Some(format!(
        "the backbone does not learn, yet every use of a picture differs: {remedy}, and what it \
         makes of the pictures is computed once for all epochs and runs"
    ))
}

/// Rejects settings that the split cannot satisfy.
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

/// Returns warnings about an experiment, one sentence each. Without a split, returns those that do
/// not depend on the length of an epoch.
pub fn warnings(experiment: &Experiment, split: Option<&Split>) -> Vec<String> {
    let mut warnings = Vec::new();
    let given = experiment.start.is_some() || experiment.model.features.is_some();
    let random = experiment.model.weights.is_empty() && !given;
    if random && experiment.model.adapter.is_some() {
        warnings.push(
            "only the adapter of the backbone learns but no weights are loaded: all else stays              random; set `model.weights`, or leave `model.adapter` out"
                .to_owned(),
        );
    } else if random && experiment.model.frozen_stages >= 0 {
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
        // Long enough for any warm-up, so that only milestones beyond the last epoch are reported.
        None => Some(1 << 24),
    };
    if let Some(steps) = steps.filter(|_| train.epochs > 0) {
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

/// Describes the images of an epoch that no step uses; `None` if there are none.
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
        _ if experiment.train.epochs == 0 => None,
        0 => None,
        left => Some(format!(
            "an epoch draws {images} images and a step takes {takes}: the last {left} of each \
             epoch are not a full {what} and are left out; others in each, since the order is \
             drawn anew"
        )),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::ExperimentFile;
    use crate::data::split::SplitConfig;

    pub(in crate::job) fn experiment(more: &str) -> Experiment {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.toml");
        let text =
            "name = 'e'\nsplit_folder = 'no-such'\nloss.name = 'bce'\nsampler.kind = 'uniform'\n";
        fs_err::write(&path, format!("{text}{more}")).unwrap();
        let file = ExperimentFile::read(&path, &[]).unwrap();
        file.resolve(None, None).unwrap()
    }

    #[test]
    fn milestones_beyond_the_end_are_told_without_a_split() {
        let model = "model.frozen_stages = -1\n";
        assert!(warnings(&experiment(model), None).is_empty());
        let told = warnings(&experiment(&format!("{model}train.epochs = 3")), None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("5 and 7"), "{told:?}");
    }

    #[test]
    fn what_only_the_data_show_is_told_with_the_line_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("t.csv"), "image,labels\na.jpg,cat\nb.jpg,dog\n").unwrap();
        let experiment = "name = 'e'\nloss.name = 'bce'\nsampler.kind = 'uniform'\n";
        let split = "source.kind = 'csv'\nsource.train = 't.csv'\nvalidation = 5\n";
        let counts = "[distribution]\nkind = 'counts'\ncounts = [1]\n";
        let nested = counts.replace("[dist", "[split.dist");
        fs_err::write(
            at("e.toml"),
            format!("{experiment}[split]\n{split}{nested}"),
        )
        .unwrap();
        fs_err::write(at("s.toml"), format!("{split}{counts}")).unwrap();

        let file = ExperimentFile::read(&at("e.toml"), &[]).unwrap();
        let experiment = file.resolve(None, None).unwrap();
        let error = super::super::open_split(&experiment, &at("split")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("e.toml:10: `split.distribution.counts`"),
            "{error}"
        );

        let config = SplitConfig::read(&at("s.toml")).unwrap();
        let error = SplitConfig::locate(&at("s.toml"), Split::build(&config).unwrap_err());
        let error = error.to_string();
        assert!(error.contains("s.toml:6: `distribution.counts`"), "{error}");

        // Set on the command line, so it is not on a line of the file.
        let given = "split.distribution.counts=[1,2,3]".to_owned();
        let file = ExperimentFile::read(&at("e.toml"), &[given]).unwrap();
        let experiment = file.resolve(None, None).unwrap();
        let error = super::super::open_split(&experiment, &at("split")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("--set") && !error.contains("e.toml"),
            "{error}"
        );
    }
}
