//! Scoring a trained run on pictures of another data set.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Machine;
use super::evaluate::{Evaluated, Settings, read_run, split_of, step_of};
use super::trained::{Opening, TrainedModel};
use crate::data::formats::{Source, table};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::picture_name::identities;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result, closest};
use crate::predict::predict;
use crate::report::evaluation::{Evaluation, Options as EvaluationOptions};
use crate::run_dir::{Checkpoint, RunDir};
use crate::wording::{counted, first_named};

/// Labelled pictures that are none of a run's split.
#[derive(Debug)]
pub struct OtherSet {
    /// What it is called, a part of the name of the folder of its results.
    pub name: String,
    labels: LabelTable,
    root: ImageRoot,
}

impl OtherSet {
    /// The test set of a source, or its pool where it names none; `name` if it is not to be called
    /// as its file or folder is.
    ///
    /// # Errors
    /// The annotations cannot be read, or `name` cannot be that of a folder.
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
        Ok(OtherSet { name, labels, root })
    }

    /// A set of the split in `folder`.
    ///
    /// # Errors
    /// It has no such set, or `name` cannot be that of a folder.
    pub fn of_split(folder: &Path, set: Set, name: Option<&str>) -> Result<Self> {
        let name = checked(name, folder)?;
        let split = Split::read(folder)?;
        let (labels, root) = split.set(set, folder)?;
        Ok(OtherSet {
            name,
            labels: LabelTable::clone(labels),
            root: root.clone(),
        })
    }

    /// The labels over `classes`, those of the run, and which of these the set knows. What does not
    /// match is told.
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

    /// Warns of pictures that the run was trained on.
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

/// A name that a part of a folder's name can be: the given one, or that of a file or folder.
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

/// A trained run to be scored on another set.
#[derive(Debug, Clone, Copy)]
pub struct EvaluateOther<'a> {
    /// The run.
    pub run: &'a RunDir,
    /// Where its split lies now, if it has been moved.
    pub split_folder: Option<&'a Path>,
    /// The labelled pictures.
    pub set: &'a OtherSet,
    /// Which checkpoint.
    pub checkpoint: Checkpoint,
    /// Take the per-class thresholds of the run's own validation part.
    pub fit_thresholds: bool,
}

impl EvaluateOther<'_> {
    /// Evaluates the run's result and writes predictions and tables into
    /// [`RunDir::eval_of_other`]; gives back the run's split too, whose groups they are by.
    ///
    /// # Errors
    /// The two have no class in common, the folder holds results of another set, a picture cannot
    /// be read under `on_bad_image = "error"`, or the run has no validation part for thresholds.
    pub fn run(
        &self,
        machine: &Machine,
        mut options: EvaluationOptions,
    ) -> Result<(Split, Evaluated)> {
        let (manifest, experiment) = read_run(self.run)?;
        let (split, split_folder) = split_of(&manifest, self.split_folder)?;
        let (table, known) = self.set.matched(split.classes())?;
        let hash = table::hash(&table)?;
        let folder = self.run.eval_of_other(&self.set.name, self.checkpoint);
        refuse_another(&folder, &hash)?;
        self.set.tell_of_overlap(&split);
        let opening = Opening {
            checkpoint: self.checkpoint,
            split_folder: Some(&split_folder),
            thresholds: self.fit_thresholds,
            machine,
        };
        let model = TrainedModel::open(self.run.path(), &opening)?;
        if self.fit_thresholds {
            let Some(fitted) = model.thresholds else {
                return Err(
                    Error::argument("--fit-thresholds", "the run has no validation part")
                        .hint("`--threshold` takes one for all classes"),
                );
            };
            options.thresholds = fitted.into_iter().map(|t| t.unwrap_or(0.0)).collect();
        }
        let loading = LoaderOptions {
            batch_size: model.batch_size,
            on_bad_image: experiment.on_bad_image,
            ..machine.loader_options()
        };
        let table = Arc::new(table);
        let loader = Loader::new(table.clone(), self.set.root.clone(), model.input, loading)?;
        let (predictions, table) = predict(&model.network, &loader, &table, &self.set.name)?;
        let evaluation = Evaluation::partial(&predictions, &table, &split, &options, &known)?;
        let settings = Settings {
            checkpoint: self.checkpoint,
            weights: None,
            step: step_of(self.run, self.checkpoint),
            other_set: Some(&hash),
            options: &options,
        };
        settings.write(&folder, &evaluation, &predictions)?;
        tracing::info!("wrote {}", folder.display());
        let evaluated = Evaluated {
            evaluation,
            predictions,
            table,
        };
        Ok((split, evaluated))
    }
}

/// Refuses a folder with the results of a set with other labels.
fn refuse_another(folder: &Path, hash: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Earlier {
        other_set: String,
    }
    let settings = fs_err::read_to_string(folder.join("settings.toml")).ok();
    let earlier = settings.and_then(|text| toml::from_str::<Earlier>(&text).ok());
    match earlier {
        Some(earlier) if earlier.other_set != hash => {
            let problem = "holds the results of another set, or of other labels of this one";
            Err(Error::file(folder, problem)
                .hint("name this one otherwise with `--name`, or remove the folder"))
        }
        _ => Ok(()),
    }
}
