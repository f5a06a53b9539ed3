//! The memory head of open long-tailed recognition, for images with several labels.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::{norm, norm_in, uniform, unit};
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::constants::{constant, derived};
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::ops::graph::{linear, softmax};
use crate::range::Range;

/// A distance larger than that of any feature from any centroid, and finite in single precision.
const FAR: f64 = 1e20;

pub(super) const DEFINITION: Definition = Definition {
    name: "oltr",
    title: "OLTR",
    formula: "M_c = running mean of x over the training images with class c;\n\
        v = sum over c of softmax(linear(x))_c M_c, the memory feature;\n\
        e = tanh(linear(x)), the concept selector;\n\
        r = reach / min over c of |x - M_c|, the reachability;\n\
        u = r (x + e v);\n\
        z_c = scale (w_c . u) / (|w_c| (1 + |u|))",
    source: "Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019 (arXiv \
        1904.05160), section 3, and its public code; the OLTR row of Wu et al., ECCV 2020",
    keys: &[
        Key {
            name: "momentum",
            accepts: Accepts::Range(Range::Below(0.0, 1.0)),
            meaning: "Fraction of a centroid that is kept when a batch contains its class",
        },
        Key {
            name: "reach",
            accepts: Accepts::Range(Range::Above(0.0, 1e6)),
            meaning: "Numerator of the reachability",
        },
        Key {
            name: "scale",
            accepts: Accepts::Range(Range::Above(0.0, 1000.0)),
            meaning: "Scale of the cosine classifier",
        },
    ],
    notes: "The paper is about images with one class each, and the code behind the row in the \
        Distribution-Balanced paper is not public. **Assumed here:**\n\n\
        - An image counts fully for the centroid of each of its classes.\n\
        - The code computes centroids in a pass over the training images before its second stage \
        and then trains them with a loss of their own (a margin between own and other centroids, \
        with a small weight), which requires that an image has one class. Here they are running \
        means: after the forward pass of a training batch, the centroid of each class in it moves \
        towards the mean of the class's images in the batch by a fraction of 1 - momentum, the \
        first time all the way. There is no such loss, and only one stage, which starts from a \
        backbone trained on ImageNet.\n\
        - A class that has not occurred in any batch is left out of the softmax and the minimum. \
        As long as no class has occurred, u is x.\n\
        - Each class has a sigmoid of its own; the softmax remains where the memory is read.\n\n\
        The reach of 10 and the scale of 16 are those of the code; the momentum is our choice. The \
        memory, `head.centroids` and `head.seen`, is stored in the checkpoint and does not change \
        in evaluation, nor with `optimizer.groups.head = 0`. After mixup and smoothing, labels \
        above one half count.",
};

/// Settings of the OLTR head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oltr {
    /// Fraction of a centroid that is kept when a batch contains its class, in [0, 1).
    pub momentum: f64,
    /// Numerator of the reachability.
    pub reach: f64,
    /// Scale of the cosine classifier.
    pub scale: f64,
}

impl Default for Oltr {
    fn default() -> Self {
        Oltr {
            momentum: 0.9,
            reach: 10.0,
            scale: 16.0,
        }
    }
}

impl Settings for Oltr {
    fn takes(&self) -> Takes {
        Takes::Embedding
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let (classes, width) = (context.num_classes(), context.width);
        let drawn = uniform(width);
        let pair = |name: &str, output: usize| -> Result<[Parameter; 2]> {
            let builder = builder.pp(name);
            let weight = builder.parameter("weight", &[output, width], drawn)?;
            Ok([weight, builder.parameter("bias", &[output], drawn)?])
        };
        Ok(Box::new(OltrHead {
            centroids: builder.buffer("centroids", (classes, width), 0.0)?,
            seen: builder.buffer("seen", classes, 0.0)?,
            hallucinator: pair("hallucinator", classes)?,
            selector: pair("selector", width)?,
            weight: builder.parameter("weight", &[classes, width], drawn)?,
            settings: self.clone(),
        }))
    }
}

/// Parameters: `head.hallucinator.{weight,bias}` [C, width], `head.selector.{weight,bias}`
/// [width, width], `head.weight` [C, width]. The memory: `head.centroids` [C, width] and
/// `head.seen` [C], 1 for a class that has a centroid.
#[derive(Debug)]
struct OltrHead {
    centroids: Parameter,
    seen: Parameter,
    hallucinator: [Parameter; 2],
    selector: [Parameter; 2],
    weight: Parameter,
    settings: Oltr,
}

impl Head for OltrHead {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // Copied, because the memory would otherwise change underneath the graph.
        let (centroids, seen) = (self.centroids.var.copy()?, self.seen.var.copy()?);
        let unseen = ((seen.affine(-1.0, 1.0))? * FAR)?;
        let apply = |[weight, bias]: &[Parameter; 2]| {
            linear(x, &weight.var, Some(bias.var.as_tensor()))
        };
        let attention = apply(&self.hallucinator)?.broadcast_sub(&unseen)?;
        let keys = centroids.broadcast_mul(&seen.unsqueeze(1)?)?;
        let memory = softmax(&attention, 1)?.matmul(&keys)?;
        let selector = apply(&self.selector)?.tanh()?;

        let apart = x.unsqueeze(1)?.broadcast_sub(&centroids.unsqueeze(0)?)?;
        let distance = norm(&apart)?.squeeze(2)?.broadcast_add(&unseen)?;
        let reach = (distance.min_keepdim(1)?.recip()? * self.settings.reach)?;
        // 1 instead of the reachability as long as the memory is empty.
        let any = seen.max_keepdim(0)?;
        let reach = (reach.broadcast_mul(&any)?).broadcast_add(&any.affine(-1.0, 1.0)?)?;
        let infused = (x + (selector * memory)?)?.broadcast_mul(&reach)?;

        let squashed = infused.broadcast_div(&(norm(&infused)? + 1.0)?)?;
        let logits = squashed.matmul(&unit(&self.weight.var)?.t()?)?;
        Ok((logits * self.settings.scale)?)
    }

    fn forward_in(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let seen = self.seen.var.as_tensor();
        let any = self.seen.values()?.iter().any(|&seen| seen > 0.0);
        let unseen = (seen.affine(-1.0, 1.0)? * FAR)?;
        let unseen = derived(graph, &self.seen, "far", &unseen)?;
        let apply = |graph: &mut Graph, [weight, bias]: &[Parameter; 2]| -> Result<Value> {
            let (weight, bias) = (constant(graph, weight)?, constant(graph, bias)?);
            Ok(graph.linear(x, &weight, Some(&bias), 1.0))
        };
        let attention = apply(graph, &self.hallucinator)?;
        let attention = graph.subtract(&attention, &unseen);
        let shares = graph.softmax(&attention, 1);
        let keys = self.centroids.var.broadcast_mul(&seen.unsqueeze(1)?)?;
        let keys = derived(graph, &self.centroids, "seen", &keys)?;
        let memory = graph.matrix_product(&shares, &keys);
        let selector = apply(graph, &self.selector)?;
        let selector = graph.tanh(&selector);
        let selected = graph.multiply(&selector, &memory);
        let mut infused = graph.add(x, &selected);
        if any {
            let centroids = constant(graph, &self.centroids)?;
            let each = graph.unsqueeze(x, 1);
            let apart = graph.subtract(&each, &centroids);
            let distance = norm_in(graph, &apart);
            let distance = graph.flatten(&distance);
            let distance = graph.add(&distance, &unseen);
            let nearest = graph.smallest(&distance, 1);
            let reach = graph.number(self.settings.reach as f32);
            let reach = graph.divide(&reach, &nearest);
            infused = graph.multiply(&infused, &reach);
        }
        let length = norm_in(graph, &infused);
        let length = graph.plus(&length, 1.0);
        let squashed = graph.divide(&infused, &length);
        let directions = derived(graph, &self.weight, "unit", &unit(&self.weight.var)?)?;
        Ok(graph.linear(&squashed, &directions, None, self.settings.scale))
    }

    fn observe(&self, x: &Tensor, targets: &Tensor) -> Result<()> {
        let x = x.detach();
        let shows = targets.gt(0.5)?.to_dtype(x.dtype())?;
        let counts = shows.sum(0)?;
        let present = counts.minimum(1.0)?;
        let mean = (shows.t()?.matmul(&x)?).broadcast_div(&counts.maximum(1.0)?.unsqueeze(1)?)?;
        // A class without a centroid moves all the way; one that is absent from the batch does not
        // move.
        let seen = self.seen.var.as_tensor();
        let part = (present.clone() * seen.affine(-self.settings.momentum, 1.0)?)?;
        let centroids = self.centroids.var.as_tensor();
        let step = (mean - centroids)?.broadcast_mul(&part.unsqueeze(1)?)?;
        self.centroids.set(&(centroids + step)?)?;
        self.seen.set(&seen.maximum(&present)?)
    }

    fn has_memory(&self) -> bool {
        true
    }
}
