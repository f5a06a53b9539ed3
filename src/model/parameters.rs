//! The named tensors of a model: what learns, what is only kept, under PyTorch's names.

use std::collections::HashMap;

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};

/// How a named tensor takes part in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Updated by the optimiser.
    Trainable,
    /// Belongs to a frozen stage: kept as loaded.
    Frozen,
    /// Not a parameter: a running statistic, updated by the forward pass if at all.
    Buffer,
}

/// One named tensor.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The full name, for example `backbone.layer1.0.conv1.weight`.
    pub name: String,
    /// The value; shared, so that an update is seen by all that hold it.
    pub var: Var,
    /// What may change it.
    pub role: Role,
}

/// Named tensors in the order of their definition, so that every walk over them is reproducible.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
}

impl Parameters {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor under a new name. A name that exists already is an error.
    pub fn insert(&mut self, name: impl Into<String>, var: Var, role: Role) -> Result<()> {
        let name = name.into();
        if self.index.contains_key(&name) {
            return Err(Error::input(name, "the parameter is defined twice"));
        }
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push(Parameter { name, var, role });
        Ok(())
    }

    /// The entry `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.entries[i])
    }

    /// The variable `name`; an error names it if it is missing.
    pub fn var(&self, name: &str) -> Result<&Var> {
        self.get(name)
            .map(|entry| &entry.var)
            .ok_or_else(|| Error::input(name, "the model has no such parameter"))
    }

    /// All entries in the order of definition.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter()
    }

    /// The entries that the optimiser updates.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|entry| entry.role == Role::Trainable)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of scalars that the optimiser updates.
    pub fn num_trainable(&self) -> usize {
        self.trainable().map(|entry| entry.var.elem_count()).sum()
    }
}

/// Gradients by parameter name; a parameter that had no part in the loss is absent.
pub type Gradients = HashMap<String, Tensor>;
