//! A single linear layer, the head of the published recipe.

use std::path::PathBuf;

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::class_vectors::{self, FROZEN, INIT};
use super::interface::{Definition, Head, HeadContext, Settings, Takes};
use crate::error::{KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::constants::constant;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::ops::graph::linear;

/// Standard deviation of the initial weights, as published.
const INIT_STD: f64 = 0.01;

pub(super) const DEFINITION: Definition = Definition {
    name: "linear",
    title: "Linear",
    formula: "z_c = w_c . x + b_c",
    source: "the classifier of Wu et al., Distribution-Balanced Loss, ECCV 2020 (arXiv 2007.09654), \
        section 4.1; started from text: Radford et al., Learning Transferable Visual Models From \
        Natural Language Supervision, ICML 2021 (arXiv 2103.00020), section 3.1",
    keys: &[INIT, FROZEN],
    notes: "Initial weights are normal(0, 0.01) and biases 0, as published. Rows from a file are \
        used as they are, not normalised: their length is the scale of the logits. With frozen \
        weights, the bias is still learnt.",
};

/// Settings of the linear head.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Linear {
    /// See [`INIT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// See [`FROZEN`].
    pub frozen: bool,
}

impl Settings for Linear {
    fn check(&self, at: &KeyPath) -> Result<()> {
        class_vectors::check(self.init.as_deref(), self.frozen, at)
    }

    fn takes(&self) -> Takes {
        Takes::Embedding
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let drawn = Init::Randn {
            mean: 0.0,
            stdev: INIT_STD,
        };
        let init = self.init.as_deref();
        let weight = class_vectors::weight(init, self.frozen, drawn, context, builder)?;
        let bias = builder.parameter("bias", &[context.num_classes()], Init::Const(0.0))?;
        Ok(Box::new(LinearHead { weight, bias }))
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        self.init.iter_mut().map(|path| ("init", path)).collect()
    }
}

/// Parameters: `head.weight` [C, width], `head.bias` [C].
#[derive(Debug)]
struct LinearHead {
    weight: Parameter,
    bias: Parameter,
}

impl Head for LinearHead {
    fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        linear(embedding, &self.weight.var, Some(self.bias.var.as_tensor()))
    }

    fn forward_in(&self, graph: &mut Graph, embedding: &Value) -> Result<Value> {
        let (weight, bias) = (constant(graph, &self.weight)?, constant(graph, &self.bias)?);
        Ok(graph.linear(embedding, &weight, Some(&bias), 1.0))
    }
}
