//! The scores of a run to be inspected: those that an evaluation has written, or new ones.

use super::Machine;
use super::evaluate::Evaluate;
use super::other_set::EvaluateOther;
use super::thresholds::is_current;
use crate::data::split::Set;
use crate::error::Result;
use crate::predict::Predictions;
use crate::report::evaluation::Options;
use crate::report::inspect::{Part, Shown};

impl Evaluate<'_> {
    /// Returns the scores of the set: those in `predictions.csv` of [`RunDir::eval_of`], if they
    /// belong to the present checkpoint; otherwise the set is evaluated like in [`run`](Self::run).
    ///
    /// # Errors
    /// As `run`; also fails if the file is damaged.
    ///
    /// [`RunDir::eval_of`]: crate::run_dir::RunDir::eval_of
    pub fn part(&self, machine: &Machine) -> Result<Part> {
        let (table, root) = self.split.set(self.set, self.split_folder)?;
        let folder = self.run.eval_of(self.set, self.checkpoint);
        let file = folder.join("predictions.csv");
        let is_there = file.is_file() && is_current(&folder, &self.run.checkpoint(self.checkpoint));
        match is_there {
            true => {
                tracing::info!(
                    "{}: the scores already exist and are reused",
                    file.display()
                );
            }
            false => {
                self.run(None, machine, Options::default())?;
            }
        }
        // New scores are also read back from the file, so that they have the same digits.
        let read = Predictions::read(&file)?;
        let table = read.scored(table);
        let predictions = Predictions {
            scores: read.align(&table, &file)?,
            classes: table.classes().to_vec(),
            images: table.images().to_vec(),
            scale: read.scale,
        };
        Ok(Part {
            set: Shown::Own(self.set),
            predictions,
            table: table.into(),
            root: root.clone(),
        })
    }

    /// Returns the validation part with its scores, if the split has one and it is not the set
    /// itself.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn validation_part(&self, machine: &Machine) -> Result<Option<Part>> {
        let is_there = (self.split.validation.as_ref()).is_some_and(|table| !table.is_empty());
        if !is_there || self.set == Set::Validation {
            return Ok(None);
        }
        let of_validation = Evaluate {
            set: Set::Validation,
            ..*self
        };
        of_validation.part(machine).map(Some)
    }
}

impl EvaluateOther<'_> {
    /// Returns the scores of the other set, which is evaluated as in [`run`](Self::run), and the
    /// indices of the run's classes that it is annotated for.
    ///
    /// # Errors
    /// As `run`.
    pub fn part(&self, machine: &Machine) -> Result<(Part, Vec<usize>)> {
        let (_, evaluated) = self.run(machine, Options::default())?;
        let classes = evaluated.table.classes().iter().enumerate();
        let known = classes.filter(|(_, class)| self.set.knows(class));
        let known = known.map(|(index, _)| index).collect();
        let part = Part {
            set: Shown::Other(self.set.name.clone()),
            predictions: evaluated.predictions,
            table: evaluated.table,
            root: self.set.root().clone(),
        };
        Ok((part, known))
    }
}
