//! Class-specific residual attention over the locations of the feature maps.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::{places, uniform, unit};
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::constants::derived;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::ops::graph::{linear, softmax};
use crate::range::Range;

/// The largest finite temperature accepted. An infinite one stands for the maximum.
const HOTTEST: f64 = 98.0;

pub(super) const DEFINITION: Definition = Definition {
    name: "csra",
    title: "CSRA",
    formula: "s_ck = m_c . x_k / |m_c| at the place k;\n\
        a_ck = softmax over k of T s_ck, or all on the largest for T = inf;\n\
        z_c = sum over the temperatures of (mean over k of s_ck + lambda sum over k of a_ck s_ck)",
    source: "Zhu and Wu, Residual Attention: A Simple but Effective Method for Multi-Label \
        Recognition, ICCV 2021 (arXiv 2108.02456), section 3, and its public code",
    keys: &[
        Key {
            name: "lambda",
            accepts: Accepts::Range(Range::NotNegative),
            meaning: "Weight of the attention relative to the mean; with 0 the head is linear on \
                the average of the maps",
        },
        Key {
            name: "temperatures",
            accepts: Accepts::Words(
                "a list of numbers above 0 and at most 98; `inf` selects the largest",
            ),
            meaning: "Temperature of each attention, which has a classifier of its own",
        },
    ],
    notes: "Defaults are those of the code: one attention, lambda 0.1 and T = 1. Its variants with \
        several heads have the temperatures `[1.0, inf]` (2), `[1.0, 2.0, 4.0, inf]` (4), `[1.0, \
        2.0, 3.0, 4.0, \
        5.0, inf]` (6), `[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, inf]` (8), where 99 stands for inf.\n\n\
        The division by |m_c| follows the code. There is no bias. Initial weights are uniform \
        within 1 / sqrt(features), as PyTorch initialises a convolution.",
};

/// Settings of the CSRA head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Csra {
    /// Weight of the attention beside the mean, at least 0.
    pub lambda: f64,
    /// Temperature of each attention, above 0; infinite for the maximum.
    pub temperatures: Vec<f64>,
}

impl Default for Csra {
    fn default() -> Self {
        Csra {
            lambda: 0.1,
            temperatures: vec![1.0],
        }
    }
}

impl Settings for Csra {
    fn check(&self, at: &KeyPath) -> Result<()> {
        let at = at.join("temperatures");
        if self.temperatures.is_empty() {
            let problem = "is empty, expected at least one temperature";
            return Err(Error::key(at, problem));
        }
        let range = Range::Above(0.0, HOTTEST);
        match (self.temperatures.iter()).find(|&&t| t != f64::INFINITY && !range.holds(t)) {
            Some(wrong) => {
                let problem = format!("holds {wrong}, expected {range}, or inf");
                Err(Error::key(at, problem))
            }
            None => Ok(()),
        }
    }

    fn takes(&self) -> Takes {
        Takes::Maps
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let shape = [context.num_classes(), context.width];
        let attention = |(number, &temperature): (usize, &f64)| {
            let builder = builder.pp(number);
            let weight = builder.parameter("weight", &shape, uniform(context.width))?;
            Ok((weight, temperature))
        };
        let attentions = self.temperatures.iter().enumerate().map(attention);
        Ok(Box::new(CsraHead {
            attentions: attentions.collect::<Result<_>>()?,
            lambda: self.lambda,
        }))
    }
}

/// Parameters: `head.<number>.weight` [C, features] for each attention.
#[derive(Debug)]
struct CsraHead {
    attentions: Vec<(Parameter, f64)>,
    lambda: f64,
}

/// Returns the error for a head without attentions.
fn none() -> Error {
    Error::key("model.head.temperatures", "is empty")
}

impl Head for CsraHead {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        let places = places(maps)?;
        let mut logits: Option<Tensor> = None;
        for (weight, temperature) in &self.attentions {
            // [N, locations, C].
            let scores = linear(&places, &unit(&weight.var)?, None)?;
            let attended = match temperature.is_infinite() {
                true => scores.max(1)?,
                false => {
                    let attention = softmax(&(&scores * *temperature)?, 1)?;
                    (attention * &scores)?.sum(1)?
                }
            };
            let own = (scores.mean(1)? + (attended * self.lambda)?)?;
            logits = Some(match logits {
                Some(before) => (before + own)?,
                None => own,
            });
        }
        logits.ok_or_else(none)
    }

    fn forward_in(&self, graph: &mut Graph, places: &Value) -> Result<Value> {
        let mut logits: Option<Value> = None;
        for (weight, temperature) in &self.attentions {
            let directions = unit(&weight.var)?.t()?;
            let directions = derived(graph, weight, "unit", &directions)?;
            let scores = graph.matrix_product(places, &directions);
            let attended = match temperature.is_infinite() {
                true => graph.largest(&scores, 1),
                false => {
                    let heated = graph.times(&scores, *temperature);
                    let attention = graph.softmax(&heated, 1);
                    let shares = graph.multiply(&attention, &scores);
                    graph.sum(&shares, 1)
                }
            };
            let mean = graph.mean(&scores, 1, false);
            let attended = graph.times(&attended, self.lambda);
            let own = graph.add(&mean, &attended);
            logits = Some(match logits {
                Some(before) => graph.add(&before, &own),
                None => own,
            });
        }
        logits.ok_or_else(none)
    }
}
