//! The cosine of the angle between features and weights, times a scale.

use std::path::PathBuf;

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::class_vectors::{self, FROZEN, INIT};
use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::{uniform, unit, unit_in};
use crate::error::{KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::constants::{constant, derived};
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::range::Range;

pub(super) const DEFINITION: Definition = Definition {
    name: "cosine",
    title: "Cosine",
    formula: "z_c = scale (w_c . x) / (|w_c| |x|) + b_c",
    source: "Gidaris and Komodakis, Dynamic Few-Shot Visual Learning without Forgetting, CVPR 2018 \
        (arXiv 1804.09458), section 3; the classifier of LDAM's public code (Cao et al., NeurIPS \
        2019, arXiv 1906.07413)",
    keys: &[
        Key {
            name: "scale",
            accepts: Accepts::Range(Range::Above(0.0, 1000.0)),
            meaning: "Factor on the cosine; if it is learnt, its initial value",
        },
        Key {
            name: "learn_scale",
            accepts: Accepts::Range(Range::Flag),
            meaning: "Whether the scale is learnt, as the exponential of a parameter",
        },
        Key {
            name: "bias",
            accepts: Accepts::Range(Range::Flag),
            meaning: "Whether there is a bias, initially 0",
        },
        INIT,
        FROZEN,
    ],
    notes: "The scale of 16 is that of the cosine classifier in OLTR's public code. LDAM's code \
        uses 30 and applies it after the margin: set `scale = 1.0` here and `loss.logit_scale = \
        30` there. \
        CLIP uses 100, with its text features as `init`.\n\n\
        Initial weights are uniform within 1 / sqrt(width), no bias. A learnt scale is \
        `exp(log_scale)`, as in CLIP, but without its upper bound. A feature vector of zeros has a \
        cosine of 0.\n\n\
        CLIP's zero-shot classifier is its image tower as the backbone, all stages frozen, no \
        neck, `scale = 100.0`, and `frozen = true` with its features of one text per class, which \
        `scripts/clip_text_features.py` writes. Nothing is learnt then: with `train.epochs = 0` \
        the run is exactly that classifier (`experiments/voc07-clip.toml`). Each class has a \
        sigmoid of its own; a softmax over the classes of an image would rank the images \
        differently.",
};

/// Settings of the cosine head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cosine {
    /// Factor on the cosine, above 0.
    pub scale: f64,
    /// Whether the scale learns.
    pub learn_scale: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// See [`INIT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// See [`FROZEN`].
    pub frozen: bool,
}

impl Default for Cosine {
    fn default() -> Self {
        Cosine {
            scale: 16.0,
            learn_scale: false,
            bias: false,
            init: None,
            frozen: false,
        }
    }
}

impl Settings for Cosine {
    fn check(&self, at: &KeyPath) -> Result<()> {
        class_vectors::check(self.init.as_deref(), self.frozen, at)
    }

    fn takes(&self) -> Takes {
        Takes::Embedding
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let (init, drawn) = (self.init.as_deref(), uniform(context.width));
        let weight = class_vectors::weight(init, self.frozen, drawn, context, builder)?;
        let scale = match self.learn_scale {
            true => {
                let start = Init::Const(self.scale.ln());
                Scale::Learnt(builder.parameter("log_scale", &[1], start)?)
            }
            false => Scale::Fixed(self.scale),
        };
        let bias = || builder.parameter("bias", &[context.num_classes()], Init::Const(0.0));
        Ok(Box::new(CosineHead {
            weight,
            scale,
            bias: self.bias.then(bias).transpose()?,
        }))
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        self.init.iter_mut().map(|path| ("init", path)).collect()
    }
}

/// Parameters: `head.weight` [C, width]; `head.log_scale` [1] and `head.bias` [C] if configured.
#[derive(Debug)]
struct CosineHead {
    weight: Parameter,
    scale: Scale,
    bias: Option<Parameter>,
}

/// The factor on the cosine.
#[derive(Debug)]
enum Scale {
    Fixed(f64),
    /// The logarithm of the factor.
    Learnt(Parameter),
}

impl Head for CosineHead {
    fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        let cosine = unit(embedding)?.matmul(&unit(&self.weight.var)?.t()?)?;
        let scaled = match &self.scale {
            Scale::Fixed(scale) => (cosine * *scale)?,
            Scale::Learnt(log) => cosine.broadcast_mul(&log.var.exp()?)?,
        };
        Ok(match &self.bias {
            Some(bias) => scaled.broadcast_add(&bias.var)?,
            None => scaled,
        })
    }

    fn forward_in(&self, graph: &mut Graph, embedding: &Value) -> Result<Value> {
        let directions = derived(graph, &self.weight, "unit", &unit(&self.weight.var)?)?;
        let scale = match &self.scale {
            Scale::Fixed(scale) => *scale,
            Scale::Learnt(log) => log.values()?.iter().map(|&log| f64::from(log).exp()).sum(),
        };
        let bias = self.bias.as_ref().map(|bias| constant(graph, bias));
        let bias = bias.transpose()?;
        let x = unit_in(graph, embedding);
        Ok(graph.linear(&x, &directions, bias.as_ref(), scale))
    }
}
