//! The interface of heads to the rest of the program: the settings, the classifier itself, and the
//! information about the data that it receives.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::data::labels::LabelTable;
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::onnx::{Graph, Value};
use crate::range::Range;
use crate::rng::Stream;

/// The input that a head takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The pooled features after the neck, `[N, width]`.
    Embedding,
    /// The feature maps of the backbone, `[N, rows, columns, features]`, without a neck.
    Maps,
}

/// A classifier, which maps the input that it [`Takes`] to one logit per class.
pub trait Head: Debug + Send + Sync {
    /// Returns the logits `[N, C]` in evaluation.
    ///
    /// # Errors
    /// If the input has another shape.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;

    /// Writes [`Head::forward`] into `graph`; maps are given as a list of locations,
    /// `[N, locations, features]`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn forward_in(&self, graph: &mut Graph, input: &Value) -> Result<Value>;

    /// Returns the logits `[N, C]` in training, in candle's graph; all random numbers come from
    /// `stream`.
    ///
    /// # Errors
    /// As [`Head::forward`].
    fn forward_train(&self, input: &Tensor, _stream: &mut Stream) -> Result<Tensor> {
        self.forward(input)
    }

    /// Observes a training batch after its forward pass: the input of the head, outside the graph,
    /// and the labels `[N, C]`, of which those above one half count. For heads with a memory.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn observe(&self, _input: &Tensor, _targets: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Returns true if [`Head::observe`] has an effect.
    fn has_memory(&self) -> bool {
        false
    }
}

/// The settings of one head, which are its own keys of `[model.head]`.
pub trait Settings: Debug {
    /// Checks the conditions beyond the ranges of single keys; `at` is the key of the table.
    ///
    /// # Errors
    /// If two keys are incompatible.
    fn check(&self, _at: &KeyPath) -> Result<()> {
        Ok(())
    }

    /// Returns the input that the head takes.
    fn takes(&self) -> Takes;

    /// Builds the head with its parameters under `head.`.
    ///
    /// # Errors
    /// If a file named in the settings cannot be read, or does not fit the classes and the width.
    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>>;

    /// Returns the paths in the settings, with their keys.
    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        Vec::new()
    }
}

/// The information about network and data that a head receives.
#[derive(Debug, Clone, Copy)]
pub struct HeadContext<'a> {
    /// The width of the input of the head.
    pub width: usize,
    /// The training labels.
    pub labels: &'a LabelTable,
    /// False if a checkpoint is about to fill every tensor: files of initial values are then not
    /// read, and may be gone.
    pub reads_files: bool,
}

impl<'a> HeadContext<'a> {
    /// Returns the names of the classes, in order.
    pub fn classes(&self) -> &'a [String] {
        self.labels.classes()
    }

    /// Returns the number of classes, C.
    pub fn num_classes(&self) -> usize {
        self.labels.num_classes()
    }

    /// Returns the number of training images that contain both class i and class j, at i * C + j; 0
    /// on the diagonal.
    pub fn co_occurrence(&self) -> Vec<usize> {
        let classes = self.num_classes();
        let mut co_occurrence = vec![0; classes * classes];
        for image in 0..self.labels.len() {
            let present = self.labels.labels(image);
            for &i in present {
                for &j in present.iter().filter(|&&j| j != i) {
                    co_occurrence[i as usize * classes + j as usize] += 1;
                }
            }
        }
        co_occurrence
    }
}

/// A key of a head, described for the check of its range and for the pages.
#[derive(Debug)]
pub struct Key {
    /// Its name in TOML.
    pub name: &'static str,
    /// The values it accepts.
    pub accepts: Accepts,
    /// What it does, without a full stop.
    pub meaning: &'static str,
}

/// What a key accepts.
#[derive(Debug)]
pub enum Accepts {
    /// A number in a range, or a flag.
    Range(Range),
    /// Values defined by the type of the settings, described in words.
    Words(&'static str),
}

/// The definition of a head, for lists and pages.
#[derive(Debug)]
pub struct Definition {
    /// Its `kind` in TOML.
    pub name: &'static str,
    /// The name used in print.
    pub title: &'static str,
    /// From the input to a logit, in plain text, one line per step.
    pub formula: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// The origin of the defaults, assumptions and surprising behaviour, as paragraphs.
    pub notes: &'static str,
}

impl Definition {
    /// Checks the numbers in `settings`, given as a table, against the ranges of the keys.
    pub(super) fn check(&self, settings: &toml::Table, at: &KeyPath) -> Result<()> {
        for (name, value) in settings {
            let key = self.keys.iter().find(|key| key.name == name);
            let Some(Accepts::Range(range)) = key.map(|key| &key.accepts) else {
                continue;
            };
            match value {
                toml::Value::Integer(whole) => range.check_whole(&at.child(name), *whole)?,
                toml::Value::Float(number) => range.check(&at.child(name), *number)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the error for a file that does not fit; `key` is relative to `model.head`.
pub(super) fn misfit(key: &str, path: &Path, problem: impl std::fmt::Display) -> Error {
    let at = KeyPath::from("model.head").child(key);
    Error::key(at, format_args!("{}: {problem}", path.display()))
}
