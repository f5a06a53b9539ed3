//! The named tensors of a model, trainable or merely stored, under PyTorch's names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::error::{Error, Result};
use crate::ops::graph::Lazy;

/// The role of a named tensor in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Updated by the optimiser.
    Trainable,
    /// Part of a frozen stage: stays as loaded.
    Frozen,
    /// Not a parameter but a running statistic, updated by the forward pass if at all.
    Buffer,
}

/// A named tensor. Clones are handles to the same tensor.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its index in [`Parameters`], and that of its gradient in [`Gradients`].
    pub index: usize,
    /// The full name, for example `backbone.layer1.0.conv1.weight`.
    pub name: String,
    /// The value; shared, so that all holders see an update. Code that changes it other than
    /// through [`Parameter::set`] must call [`Parameter::changed`].
    pub var: Var,
    /// Its role in training.
    pub role: Role,
    /// The stage of the network it belongs to: 0 is the stem, then the backbone's stages; neck and
    /// head are one above the last.
    pub stage: usize,
    generation: Arc<AtomicU64>,
}

impl Parameter {
    /// Returns the value, in candle's graph if it is trainable and outside it if not.
    pub fn tensor(&self) -> Tensor {
        match self.role {
            Role::Trainable => self.var.as_tensor().clone(),
            Role::Frozen | Role::Buffer => self.var.as_detached_tensor(),
        }
    }

    /// Sets another value of the same shape.
    ///
    /// # Errors
    /// If the shapes or types differ.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        self.var.set(value)?;
        self.changed();
        Ok(())
    }

    /// Sets the values, given in row-major order.
    ///
    /// # Errors
    /// If their number differs from that of the elements.
    pub fn fill(&self, values: Vec<f32>) -> Result<()> {
        let values = Tensor::from_vec(values, self.var.shape(), self.var.device())?;
        self.set(&values.to_dtype(self.var.dtype())?)
    }

    /// Returns the values in row-major order, in single precision.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn values(&self) -> Result<Vec<f32>> {
        let values = self.var.flatten_all()?.to_dtype(DType::F32)?;
        Ok(values.to_vec1()?)
    }

    /// Records that the value has changed, so that whatever was derived from it is computed anew.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns a number that grows with every change of the value.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Named tensors in the order of their definition, so that every iteration over them is
/// reproducible.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
}

impl Parameters {
    /// Creates an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor under a new name and returns a handle to it.
    ///
    /// # Errors
    /// If there is one of that name already.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        var: Var,
        role: Role,
        stage: usize,
    ) -> Result<Parameter> {
        let (name, index) = (name.into(), self.entries.len());
        if self.index.contains_key(&name) {
            return Err(Error::input(name, "the parameter is defined twice"));
        }
        self.index.insert(name.clone(), index);
        let parameter = Parameter {
            index,
            name,
            var,
            role,
            stage,
            generation: Arc::default(),
        };
        self.entries.push(parameter.clone());
        Ok(parameter)
    }

    /// Returns the entry `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.entries[i])
    }

    /// Returns the variable `name`; an error names it if it is missing.
    pub fn var(&self, name: &str) -> Result<&Var> {
        self.get(name)
            .map(|entry| &entry.var)
            .ok_or_else(|| Error::input(name, "the model has no such parameter"))
    }

    /// Iterates over all entries in the order of definition.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter()
    }

    /// Iterates over the entries that the optimiser updates.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|entry| entry.role == Role::Trainable)
    }

    /// Returns the hash, in hexadecimal, of the tensors whose names begin with `prefix`: of their
    /// names, shapes and values, wherever they came from.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn hash(&self, prefix: &str) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for entry in self.iter().filter(|entry| entry.name.starts_with(prefix)) {
            let head = format!("{} {:?}\n", entry.name, entry.var.dims());
            hasher.update(head.as_bytes());
            bytes.clear();
            bytes.extend((entry.values()?.iter()).flat_map(|value| value.to_le_bytes()));
            hasher.update(&bytes);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of scalars that the optimiser updates.
    pub fn num_trainable(&self) -> usize {
        self.trainable().map(|entry| entry.var.elem_count()).sum()
    }
}

/// Gradients in the order of the [`Parameters`]; a parameter that did not contribute to the loss,
/// or is not trainable, has none.
#[derive(Debug, Clone, Default)]
pub struct Gradients(Vec<Option<Lazy>>);

impl Gradients {
    /// Creates a collection without a gradient for any of the parameters.
    pub fn none(parameters: &Parameters) -> Self {
        Gradients(vec![None; parameters.len()])
    }

    /// Returns the gradient of a parameter, if it has one.
    pub fn get(&self, parameter: &Parameter) -> Option<&Lazy> {
        self.0.get(parameter.index)?.as_ref()
    }

    /// Returns the values of a parameter's gradient, if it has one.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn tensor(&self, parameter: &Parameter) -> Result<Option<Tensor>> {
        let gradient = self.get(parameter).map(Lazy::tensor);
        Ok(gradient.transpose()?)
    }

    /// Stores the gradient of a parameter.
    pub fn set(&mut self, parameter: &Parameter, gradient: impl Into<Lazy>) {
        if self.0.len() <= parameter.index {
            self.0.resize(parameter.index + 1, None);
        }
        self.0[parameter.index] = Some(gradient.into());
    }

    /// Stores the gradients that candle found for these parameters.
    pub fn take_from<'a>(
        &mut self,
        found: &GradStore,
        parameters: impl IntoIterator<Item = &'a Parameter>,
    ) {
        for parameter in parameters {
            if let Some(gradient) = found.get(parameter.var.as_tensor()) {
                self.set(parameter, gradient.clone());
            }
        }
    }

    /// Iterates over the indices of parameters that have gradients, and those gradients, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Lazy)> {
        let entries = self.0.iter().enumerate();
        entries.filter_map(|(index, gradient)| Some((index, gradient.as_ref()?)))
    }

    /// Returns the number of gradients.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns true if there are no gradients.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
