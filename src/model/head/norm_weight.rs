//! A linear layer whose weights are divided by a power of their norm.

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::{norm, uniform};
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::constants::{constant, derived};
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::ops::graph::linear;
use crate::range::Range;

pub(super) const DEFINITION: Definition = Definition {
    name: "norm-weight",
    title: "Linear with normalised weights",
    formula: "z_c = w_c . x / |w_c|^tau + b_c",
    source: "Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR \
        2020 (arXiv 1910.09217), section 4, the tau-normalised classifier",
    keys: &[
        Key {
            name: "tau",
            accepts: Accepts::Range(Range::Within(0.0, 1.0)),
            meaning: "Power of the length: 1 removes it, 0 keeps it",
        },
        Key {
            name: "bias",
            accepts: Accepts::Range(Range::Flag),
            meaning: "Whether there is a bias, initially 0",
        },
    ],
    notes: "The paper divides the weights after the training, without a bias. That is a positive \
        factor for each class, which keeps the order of the images within the class: **it cannot \
        change AP**, nor mAP, and helps only with thresholds and single-label accuracy. Here the \
        division is part of the network during training, which is different: the length of a \
        class's weights no longer grows with its frequency, and its gradient is taken across them.\n\n\
        Initial weights are uniform within 1 / sqrt(width).",
};

/// Settings of the head with normalised weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormWeight {
    /// Power of the length, in [0, 1].
    pub tau: f64,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Default for NormWeight {
    fn default() -> Self {
        NormWeight {
            tau: 1.0,
            bias: false,
        }
    }
}

impl Settings for NormWeight {
    fn takes(&self) -> Takes {
        Takes::Embedding
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let (classes, width) = (context.num_classes(), context.width);
        let weight = builder.parameter("weight", &[classes, width], uniform(width))?;
        let bias = || builder.parameter("bias", &[classes], Init::Const(0.0));
        Ok(Box::new(NormWeightHead {
            weight,
            bias: self.bias.then(bias).transpose()?,
            tau: self.tau,
        }))
    }
}

/// Parameters: `head.weight` [C, width]; `head.bias` [C] if configured.
#[derive(Debug)]
struct NormWeightHead {
    weight: Parameter,
    bias: Option<Parameter>,
    tau: f64,
}

impl Head for NormWeightHead {
    fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| bias.var.as_tensor());
        linear(embedding, &self.divided()?, bias)
    }

    fn forward_in(&self, graph: &mut Graph, embedding: &Value) -> Result<Value> {
        let weight = derived(graph, &self.weight, "divided", &self.divided()?)?;
        let bias = self.bias.as_ref().map(|bias| constant(graph, bias));
        let bias = bias.transpose()?;
        Ok(graph.linear(embedding, &weight, bias.as_ref(), 1.0))
    }
}

impl NormWeightHead {
    /// Returns the weights divided by a power of their norm.
    fn divided(&self) -> Result<Tensor> {
        let length = norm(&self.weight.var)?.powf(self.tau)?;
        Ok(self.weight.var.broadcast_div(&length)?)
    }
}
