//! Evaluation of a trained model on pictures of another data set, and of an exported one on any
//! set.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Machine;
use super::evaluate::{Evaluated, Settings, read_run, split_of, step_of};
use super::trained::{Opening, TrainedModel};
use crate::data::formats::{Source, table};
use crate::data::image::{ImageRoot, OnBadImage};
use crate::data::labels::LabelTable;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::picture_name::identities;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result, closest};
use crate::export::{Card, card_of};
use crate::predict::predict;
use crate::report::evaluation::{Evaluation, Options as EvaluationOptions, TrainedOn};
use crate::run_dir::{Checkpoint, RunDir};
use crate::wording::{counted, first_named};

/// Labelled pictures that do not belong to a run's split.
#[derive(Debug)]
pub struct OtherSet {
    /// The name of the set, which becomes part of the name of the results' folder.
    pub name: String,
    /// Which set this is, if it belongs to the split that the model was trained on.
    pub own: Option<Set>,
    labels: LabelTable,
    root: ImageRoot,
}

impl OtherSet {
    /// Uses the test set of a source, or its pool if it has no test set. `name` replaces the name
    /// of its file or folder.
    ///
    /// # Errors
    /// Fails if the annotations cannot be read, or if `name` cannot be part of a folder name.
    pub fn of_source(mut source: Source, name: Option<&str>) -> Result<Self> {
        source.check(&"the source".into())?;
        let (mut first, mut test) = (None, None);
        source.each_path(&mut |key, path| {
            first.get_or_insert_with(|| path.clone());
            if key == "test" {
                test = Some(path.clone());
            }
        });
        let own = test.or(first).unwrap_or_else(|| PathBuf::from("shapes"));
        let name = checked(name, &own)?;
        let loaded = source.load()?;
        loaded.account.report();
        let (labels, root) = match loaded.test {
            Some(test) if source.has_test() => (test, loaded.test_root),
            _ => (loaded.pool, loaded.train_root),
        };
        Ok(OtherSet {
            name,
            own: None,
            labels,
            root,
        })
    }

    /// Uses a set of the split in `folder`.
    ///
    /// # Errors
    /// Fails if the split has no such set, or if `name` cannot be part of a folder name.
    pub fn of_split(folder: &Path, set: Set, name: Option<&str>) -> Result<Self> {
        let name = checked(name, folder)?;
        let split = Split::read(folder)?;
        let (labels, root) = split.set(set, folder)?;
        Ok(OtherSet {
            name,
            own: None,
            labels: LabelTable::clone(labels),
            root: root.clone(),
        })
    }

    /// Uses a set of the split in `folder` that an exported model was trained on. Whether it is
    /// that split is checked when the model is evaluated, see [`EvaluateOther::split_folder`].
    ///
    /// # Errors
    /// Fails if the split has no such set.
    pub fn of_own_split(folder: &Path, set: Set) -> Result<Self> {
        let own = Self::of_split(folder, set, Some(set.name()))?;
        Ok(OtherSet {
            own: Some(set),
            ..own
        })
    }

    /// Returns whether the set is annotated for a class.
    pub(super) fn knows(&self, class: &str) -> bool {
        self.labels.classes().iter().any(|known| known == class)
    }

    /// Returns where its pictures are.
    pub(super) fn root(&self) -> &ImageRoot {
        &self.root
    }

    /// Returns the folder of its results among those of `run`.
    pub fn results(&self, run: &RunDir, checkpoint: Checkpoint) -> PathBuf {
        match self.own {
            Some(set) => run.eval_of(set, checkpoint),
            None => run.eval_of_other(&self.name, checkpoint),
        }
    }

    /// Returns the labels over `classes`, those of the run, and which of these the set is annotated
    /// for. Logs what does not match.
    fn matched(&self, classes: &[String]) -> Result<(LabelTable, Vec<bool>)> {
        let (theirs, name) = (self.labels.classes(), &self.name);
        let place = |class: &String| classes.iter().position(|known| known == class);
        let places: Vec<Option<u32>> = (theirs.iter())
            .map(|class| place(class).map(|place| place as u32))
            .collect();
        let known: Vec<bool> = classes.iter().map(|class| theirs.contains(class)).collect();
        let missing = || {
            let pairs = classes.iter().zip(&known);
            pairs
                .filter(|(_, known)| !**known)
                .map(|(class, _)| class.as_str())
        };
        let strangers: Vec<&str> = (theirs.iter().zip(&places))
            .filter(|(_, place)| place.is_none())
            .map(|(class, _)| class.as_str())
            .collect();
        let near = strangers
            .iter()
            .find_map(|class| Some((class, closest(class, missing())?)));
        let near = near.map_or(String::new(), |(theirs, ours)| {
            format!(" (is `{theirs}` the run's `{ours}`?)")
        });
        if known.iter().all(|known| !known) {
            let problem = format!("has no class of the run{near}");
            return Err(Error::input(name, problem).hint(format_args!(
                "its classes are {}, those of the run {}: classes are matched by name",
                first_named(strangers),
                first_named(classes.iter().map(String::as_str))
            )));
        }
        if !strangers.is_empty() {
            let counts = self.labels.class_counts();
            let lost = counts
                .iter()
                .zip(&places)
                .filter(|(_, place)| place.is_none());
            let lost: usize = lost.map(|(count, _)| count).sum();
            tracing::warn!(
                "{name}: {} that the run does not know left out, with {}: {}{near}",
                counted(strangers.len(), "class"),
                counted(lost, "label"),
                first_named(strangers)
            );
        }
        let unscored: Vec<&str> = missing().collect();
        if !unscored.is_empty() {
            tracing::warn!(
                "{name}: {} of the run without a label in it and without a score: {} (a class that \
                 was looked for and not found is one of a list, `--classes`)",
                counted(unscored.len(), "class"),
                first_named(unscored)
            );
        }
        Ok((self.labels.in_classes(classes.to_vec(), &places), known))
    }

    /// Warns about pictures that the run was trained on.
    fn tell_of_overlap(&self, split: &Split) {
        let trained: HashSet<PathBuf> = identities(&split.train_root, &split.train)
            .into_iter()
            .collect();
        let drawn_alike = match (&self.root, &split.train_root) {
            (ImageRoot::Folder { .. }, ImageRoot::Folder { .. }) => true,
            (own, other) => own == other,
        };
        let own = identities(&self.root, &self.labels);
        let pairs = self.labels.images().iter().zip(&own);
        let shared = pairs.filter(|(_, identity)| drawn_alike && trained.contains(*identity));
        let shared: Vec<&str> = shared.map(|(image, _)| image.as_str()).collect();
        if !shared.is_empty() {
            tracing::warn!(
                "{}: {} among the run's training images, on which its scores are too good: {}",
                self.name,
                counted(shared.len(), "image"),
                first_named(shared)
            );
        }
    }
}

/// Checks a name that becomes part of a folder name: the given one, or that of a file or folder.
fn checked(given: Option<&str>, own: &Path) -> Result<String> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            let own = std::path::absolute(own).unwrap_or_else(|_| own.to_owned());
            let name = match own.is_dir() {
                true => own.file_name(),
                false => own.file_stem(),
            };
            name.unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    match name.is_empty() || name.contains(['/', '\\']) || name.chars().any(char::is_control) {
        true => Err(Error::argument("--name", format_args!("is `{name}`"))
            .hint("expected a name that a folder can have")),
        false => Ok(name),
    }
}

/// Returns the folder of a model's evaluations: the run's folder, or for an exported file a folder
/// beside it with the file's name without its extension.
pub fn results_of(model: &Path) -> RunDir {
    match (model.is_file(), model.extension()) {
        (true, Some(_)) => RunDir::new(model.with_extension("")),
        (true, None) => RunDir::new(model.with_extension("scores")),
        (false, _) => RunDir::new(model),
    }
}

/// The evaluation of a trained model on another set.
#[derive(Debug, Clone, Copy)]
pub struct EvaluateOther<'a> {
    /// The run's folder, or the file of an exported model.
    pub model: &'a Path,
    /// The present folder of its split, if it has been moved or the model is an exported one.
    pub split_folder: Option<&'a Path>,
    /// The labelled pictures.
    pub set: &'a OtherSet,
    /// The checkpoint to evaluate.
    pub checkpoint: Checkpoint,
    /// Whether to use the per-class thresholds of the run's own validation part.
    pub fit_thresholds: bool,
}

/// What is known about a model before its network is read.
struct Known {
    classes: Vec<String>,
    trained_on: TrainedOn,
    /// The split and its folder, if it is available.
    split: Option<(Split, PathBuf)>,
    on_bad_image: OnBadImage,
}

impl Known {
    /// Reads the model at `path`, whose split is in `folder` if it has been moved.
    fn read(path: &Path, folder: Option<&Path>) -> Result<Self> {
        if path.is_file() {
            return Self::of_card(path, &card_of(path)?, folder);
        }
        let (manifest, experiment) = read_run(&RunDir::new(path))?;
        let (split, folder) = split_of(&manifest, folder)?;
        Ok(Known {
            classes: split.classes().to_vec(),
            trained_on: (&split).into(),
            split: Some((split, folder)),
            on_bad_image: experiment.on_bad_image,
        })
    }

    /// Reads an exported model: its card replaces the split.
    fn of_card(path: &Path, card: &Card, folder: Option<&Path>) -> Result<Self> {
        let split = match folder {
            Some(folder) => Some(split_of(&card.training, Some(folder))?),
            None => None,
        };
        let classes = card.classes.iter();
        let facts = classes.map(|class| Some((class.group?, class.train_images?)));
        let facts: Option<(Vec<_>, Vec<_>)> = facts.collect();
        let trained_on = match (&split, facts) {
            (Some((split, _)), _) => split.into(),
            (None, Some((groups, counts))) => TrainedOn { groups, counts },
            (None, None) => {
                let problem = "does not tell the training images of its classes, since the split \
                    was not there when it was exported";
                return Err(
                    Error::file(path, problem).hint("give the folder of that split with `--split`")
                );
            }
        };
        Ok(Known {
            classes: card.class_names(),
            trained_on,
            split,
            on_bad_image: card.experiment(path)?.on_bad_image,
        })
    }
}

impl EvaluateOther<'_> {
    /// Evaluates the model and writes predictions and tables into [`OtherSet::results`]. Also
    /// returns what the model was trained on, whose groups the results use.
    ///
    /// # Errors
    /// Fails if the two have no class in common, if the folder contains results of another set, if
    /// a picture cannot be read with `on_bad_image = "error"`, or if thresholds need a validation
    /// part that does not exist.
    pub fn run(
        &self,
        machine: &Machine,
        mut options: EvaluationOptions,
    ) -> Result<(TrainedOn, Evaluated)> {
        let known = Known::read(self.model, self.split_folder)?;
        let (table, annotated) = self.set.matched(&known.classes)?;
        let run = results_of(self.model);
        let folder = self.set.results(&run, self.checkpoint);
        let hash = match self.set.own {
            Some(_) => None,
            None => Some(table::hash(&table)?),
        };
        if let Some(hash) = &hash {
            refuse_another(&folder, hash)?;
            (known.split.iter()).for_each(|(split, _)| self.set.tell_of_overlap(split));
        }
        let opening = Opening {
            checkpoint: self.checkpoint,
            split_folder: known.split.as_ref().map(|(_, folder)| folder.as_path()),
            thresholds: self.fit_thresholds,
            machine,
        };
        let model = TrainedModel::open(self.model, &opening)?;
        if self.fit_thresholds {
            let Some(fitted) = model.thresholds else {
                let problem = match self.model.is_file() {
                    true => "the file contains none",
                    false => "the run has no validation part",
                };
                return Err(Error::argument("--fit-thresholds", problem)
                    .hint("set one for all classes with `--threshold`"));
            };
            options.thresholds = fitted.into_iter().map(|t| t.unwrap_or(0.0)).collect();
        }
        let loading = LoaderOptions {
            batch_size: model.batch_size,
            on_bad_image: known.on_bad_image,
            ..machine.loader_options()
        };
        let table = Arc::new(table);
        let loader = Loader::new(table.clone(), self.set.root.clone(), model.input, loading)?;
        let (predictions, table) = predict(&model.network, &loader, &table, &self.set.name)?;
        let trained_on = known.trained_on;
        let evaluation =
            Evaluation::partial(&predictions, &table, &trained_on, &options, &annotated)?;
        let settings = Settings {
            checkpoint: self.checkpoint,
            weights: None,
            step: step_of(&run, self.checkpoint),
            other_set: hash.as_deref(),
            options: &options,
        };
        settings.write(&folder, &evaluation, &predictions)?;
        tracing::info!("wrote {}", folder.display());
        let evaluated = Evaluated {
            evaluation,
            predictions,
            table,
        };
        Ok((trained_on, evaluated))
    }
}

/// Rejects a folder with the results of a set with other labels.
fn refuse_another(folder: &Path, hash: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Earlier {
        other_set: String,
    }
    let settings = fs_err::read_to_string(folder.join("settings.toml")).ok();
    let earlier = settings.and_then(|text| toml::from_str::<Earlier>(&text).ok());
    match earlier {
        Some(earlier) if earlier.other_set != hash => {
            let problem = "contains the results of another set, or of this one with other labels";
            Err(Error::file(folder, problem)
                .hint("choose another name with `--name`, or remove the folder"))
        }
        _ => Ok(()),
    }
}
