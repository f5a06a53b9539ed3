//! What a head is to the rest of the program: its settings, the classifier itself, and what it may
//! know of the data.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::data::labels::LabelTable;
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::onnx::{Graph, Value};
use crate::range::Range;
use crate::rng::Stream;

/// What a head works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The pooled features as the neck leaves them, `[N, width]`.
    Embedding,
    /// The feature maps as the backbone leaves them, `[N, rows, columns, features]`. No neck.
    Maps,
}

/// A classifier: from what it [`Takes`] to a logit a class.
pub trait Head: Debug + Send + Sync {
    /// Evaluation: logits `[N, C]`.
    ///
    /// # Errors
    /// If the input has another shape.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;

    /// [`Head::forward`] written into `graph`; maps come as a list of places `[N, places,
    /// features]`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn forward_in(&self, graph: &mut Graph, input: &Value) -> Result<Value>;

    /// Training: logits `[N, C]`, in candle's graph; `stream` draws whatever is drawn.
    ///
    /// # Errors
    /// As [`Head::forward`].
    fn forward_train(&self, input: &Tensor, _stream: &mut Stream) -> Result<Tensor> {
        self.forward(input)
    }

    /// Looks at a training batch after its forward pass: the head's input, outside the graph, and
    /// the labels `[N, C]`, of which those above one half count. For a head that keeps a memory.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn observe(&self, _input: &Tensor, _targets: &Tensor) -> Result<()> {
        Ok(())
    }

    /// True if [`Head::observe`] does anything.
    fn has_memory(&self) -> bool {
        false
    }
}

/// The settings of one head, the keys of `[model.head]` that are its own.
pub trait Settings: Debug {
    /// Checks what the ranges of the keys do not say; `at` is the table's own key.
    ///
    /// # Errors
    /// If two keys do not go together.
    fn check(&self, _at: &KeyPath) -> Result<()> {
        Ok(())
    }

    /// What the head works on.
    fn takes(&self) -> Takes;

    /// Makes the head with its parameters below `head.`.
    ///
    /// # Errors
    /// If a file that the settings name cannot be read, or does not fit classes and width.
    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>>;

    /// The paths among the settings, with their keys.
    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        Vec::new()
    }
}

/// What a head may know of network and data.
#[derive(Debug, Clone, Copy)]
pub struct HeadContext<'a> {
    /// Width of what the head takes.
    pub width: usize,
    /// The training labels.
    pub labels: &'a LabelTable,
    /// False where a checkpoint is about to fill every tensor: files that give initial values are
    /// not read then, and need not be there any more.
    pub reads_files: bool,
}

impl<'a> HeadContext<'a> {
    /// The names of the classes, in their order.
    pub fn classes(&self) -> &'a [String] {
        self.labels.classes()
    }

    /// C.
    pub fn num_classes(&self) -> usize {
        self.labels.num_classes()
    }

    /// Training images that show class i and class j both, at i * C + j; 0 on the diagonal.
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

/// What a key of a head is: for the check of its range, and for the pages.
#[derive(Debug)]
pub struct Key {
    /// Its name in TOML.
    pub name: &'static str,
    /// What its values may be.
    pub accepts: Accepts,
    /// What it does, without a full stop.
    pub meaning: &'static str,
}

/// What a key accepts.
#[derive(Debug)]
pub enum Accepts {
    /// A number of a range, or a flag.
    Range(Range),
    /// Something that the type of the settings says, in words.
    Words(&'static str),
}

/// What is known about a head, for lists and pages.
#[derive(Debug)]
pub struct Definition {
    /// Its `kind` in TOML.
    pub name: &'static str,
    /// What it is called in print.
    pub title: &'static str,
    /// From the input to a logit, in plain text: a line each.
    pub formula: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Where the defaults come from, what is assumed, what surprises: paragraphs.
    pub notes: &'static str,
}

impl Definition {
    /// Checks the numbers of `settings`, written as a table, against the ranges of the keys.
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

/// The error of a file that does not fit; `key` is below `model.head`.
pub(super) fn misfit(key: &str, path: &Path, problem: impl std::fmt::Display) -> Error {
    let at = KeyPath::from("model.head").child(key);
    Error::key(at, format_args!("{}: {problem}", path.display()))
}
