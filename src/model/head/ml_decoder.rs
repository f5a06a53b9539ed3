//! A transformer decoder with one query per group of classes.

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::{places, uniform};
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::constants::{self, constant, derived};
use crate::model::dropout::dropout;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::ops::graph::{layer_norm, linear, softmax};
use crate::range::Range;
use crate::rng::Stream;

/// The epsilon of the layer norms, PyTorch's default.
const EPSILON: f64 = 1e-5;

pub(super) const DEFINITION: Definition = Definition {
    name: "ml-decoder",
    title: "ML-Decoder",
    formula: "m = relu(linear(places of the maps));\n\
        h = norm1(q + dropout(q)) for the fixed queries q, one per group;\n\
        h = norm2(h + attention of h over m);\n\
        h = norm3(h + linear2(relu(linear1(h))));\n\
        z_c = h_g . w_gk + b_c for the k-th class c of group g",
    source: "Ridnik et al., ML-Decoder: Scalable and Versatile Classification Head, WACV 2023 (arXiv \
        2111.12933), section 2, and its public code",
    keys: &[
        Key {
            name: "groups",
            accepts: Accepts::Range(Range::WholeWithin(1, 100_000)),
            meaning: "Number of queries, but at most one per class",
        },
        Key {
            name: "width",
            accepts: Accepts::Range(Range::WholeWithin(1, 65_536)),
            meaning: "Width of queries and places; a multiple of `attention_heads`",
        },
        Key {
            name: "attention_heads",
            accepts: Accepts::Range(Range::WholeWithin(1, 1024)),
            meaning: "Number of heads of the cross-attention",
        },
        Key {
            name: "feed_forward",
            accepts: Accepts::Range(Range::WholeWithin(1, 1_048_576)),
            meaning: "Width of the hidden layer",
        },
        Key {
            name: "dropout",
            accepts: Accepts::Range(Range::Below(0.0, 1.0)),
            meaning: "Probability of every dropout: of queries, attention, hidden layer and residuals",
        },
    ],
    notes: "Defaults are those of the code: 100 groups, width 768, 8 heads, 2048 hidden, dropout 0.1, \
        one layer. There is no self-attention: in its place the query itself is added, with \
        dropout, as in the code. Queries are drawn from normal(0, 1) and do not learn; with as \
        many groups as classes, each class has a query of its own. Group g has the classes g k to \
        g k + k - 1, k = \
        ceil(C / groups).\n\n\
        Initial values are PyTorch's: Xavier uniform for the projection of queries, keys and values, \
        Xavier normal for the group weights, uniform within 1 / sqrt(fan-in) elsewhere, biases of the \
        attention and of the classes 0.",
};

/// Settings of the ML-Decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlDecoder {
    /// Number of queries, at least 1.
    pub groups: usize,
    /// Width of queries and places.
    pub width: usize,
    /// Number of heads of the cross-attention; they divide the width.
    pub attention_heads: usize,
    /// Width of the hidden layer.
    pub feed_forward: usize,
    /// Probability of every dropout, in [0, 1).
    pub dropout: f64,
}

impl Default for MlDecoder {
    fn default() -> Self {
        MlDecoder {
            groups: 100,
            width: 768,
            attention_heads: 8,
            feed_forward: 2048,
            dropout: 0.1,
        }
    }
}

impl Settings for MlDecoder {
    fn check(&self, at: &KeyPath) -> Result<()> {
        if self.width.is_multiple_of(self.attention_heads.max(1)) {
            return Ok(());
        }
        let problem = format!(
            "is {}, expected a multiple of `attention_heads` = {}",
            self.width, self.attention_heads
        );
        Err(Error::key(at.join("width"), problem))
    }

    fn takes(&self) -> Takes {
        Takes::Maps
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let (width, hidden, classes) = (self.width, self.feed_forward, context.num_classes());
        let groups = self.groups.min(classes).max(1);
        let members = classes.div_ceil(groups);
        let standard = Init::Randn {
            mean: 0.0,
            stdev: 1.0,
        };
        // Xavier: the fans of the projection are the width and three times the width.
        let bound = (6.0 / (4 * width) as f64).sqrt();
        let projection = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        // The fans are members times width, and members times groups.
        let group_weight = Init::Randn {
            mean: 0.0,
            stdev: (2.0 / (members * (width + groups)) as f64).sqrt(),
        };
        let attention = builder.pp("attention");
        let pair = |name: &str, output: usize, input: usize, bias: Option<Init>| {
            let builder = builder.pp(name);
            let weight = builder.parameter("weight", &[output, input], uniform(input))?;
            let bias = builder.parameter("bias", &[output], bias.unwrap_or(uniform(input)))?;
            Ok::<_, Error>(Pair { weight, bias })
        };
        let norm = |name: &str| {
            let builder = builder.pp(name);
            let weight = builder.parameter("weight", &[width], Init::Const(1.0))?;
            let bias = builder.parameter("bias", &[width], Init::Const(0.0))?;
            Ok::<_, Error>(Pair { weight, bias })
        };
        Ok(Box::new(Decoder {
            queries: (builder.held()).parameter("queries", &[groups, width], standard)?,
            embed: pair("embed", width, context.width, None)?,
            norm1: norm("norm1")?,
            projection: Pair {
                weight: attention.parameter("in_proj.weight", &[3 * width, width], projection)?,
                bias: attention.parameter("in_proj.bias", &[3 * width], Init::Const(0.0))?,
            },
            output: pair("attention.out_proj", width, width, Some(Init::Const(0.0)))?,
            norm2: norm("norm2")?,
            linear1: pair("linear1", hidden, width, None)?,
            linear2: pair("linear2", width, hidden, None)?,
            norm3: norm("norm3")?,
            group_weight: builder.parameter(
                "group_weight",
                &[groups, width, members],
                group_weight,
            )?,
            bias: builder.parameter("bias", &[classes], Init::Const(0.0))?,
            attention_heads: self.attention_heads,
            dropout: self.dropout,
        }))
    }
}

/// A weight and a bias, or a scale and a shift.
#[derive(Debug)]
struct Pair {
    weight: Parameter,
    bias: Parameter,
}

impl Pair {
    /// Writes [`Pair::linear`] into `graph`.
    fn linear_in(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        constants::linear(graph, x, &self.weight, Some(&self.bias))
    }

    /// Writes [`Pair::norm`] into `graph`.
    fn norm_in(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let (scale, shift) = (constant(graph, &self.weight)?, constant(graph, &self.bias)?);
        Ok(graph.layer_norm(x, &scale, &shift, EPSILON))
    }

    fn linear(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight.var, Some(self.bias.var.as_tensor()))
    }

    fn norm(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight.var, &self.bias.var, EPSILON)
    }
}

/// The head; its fields are in the order of the forward pass.
#[derive(Debug)]
struct Decoder {
    queries: Parameter,
    embed: Pair,
    norm1: Pair,
    projection: Pair,
    output: Pair,
    norm2: Pair,
    linear1: Pair,
    linear2: Pair,
    norm3: Pair,
    group_weight: Parameter,
    bias: Parameter,
    attention_heads: usize,
    dropout: f64,
}

impl Head for Decoder {
    fn forward(&self, maps: &Tensor) -> Result<Tensor> {
        self.logits(maps, &mut |x| Ok(x.clone()))
    }

    fn forward_in(&self, graph: &mut Graph, places: &Value) -> Result<Value> {
        let memory = self.embed.linear_in(graph, places)?;
        let memory = graph.relu(&memory);
        // The queries are the same for every image, and so are their projections.
        let queries = &self.queries;
        let h = self.norm1.norm(&(queries.var.as_tensor() * 2.0)?)?;
        let h_value = derived(graph, queries, "normed", &h)?;
        let attended = self.attend_in(graph, &h, &memory)?;
        let h = graph.add(&h_value, &attended);
        let h = self.norm2.norm_in(graph, &h)?;
        let hidden = self.linear1.linear_in(graph, &h)?;
        let hidden = graph.relu(&hidden);
        let hidden = self.linear2.linear_in(graph, &hidden)?;
        let h = graph.add(&h, &hidden);
        let h = self.norm3.norm_in(graph, &h)?;
        let by_group = graph.transpose(&h, &[1, 0, 2]);
        let group_weight = constant(graph, &self.group_weight)?;
        let grouped = graph.matrix_product(&by_group, &group_weight);
        let grouped = graph.transpose(&grouped, &[1, 0, 2]);
        let all = graph.flatten(&grouped);
        let logits = graph.part(&all, 0, self.bias.var.dim(0)?, 1);
        let bias = constant(graph, &self.bias)?;
        Ok(graph.add(&logits, &bias))
    }

    fn forward_train(&self, maps: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        self.logits(maps, &mut |x| dropout(x, self.dropout, stream))
    }
}

impl Decoder {
    fn logits(
        &self,
        maps: &Tensor,
        drop: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let memory = self.embed.linear(&places(maps)?)?.relu()?;
        let (groups, width) = self.queries.var.dims2()?;
        let shape = (memory.dim(0)?, groups, width);
        let queries = self.queries.var.broadcast_as(shape)?.contiguous()?;
        let h = self.norm1.norm(&(&queries + drop(&queries)?)?)?;
        let attended = self.attend(&h, &memory, drop)?;
        let h = self.norm2.norm(&(&h + drop(&attended)?)?)?;
        let hidden = drop(&self.linear1.linear(&h)?.relu()?)?;
        let h = self
            .norm3
            .norm(&(&h + drop(&self.linear2.linear(&hidden)?)?)?)?;
        // Each group with its own weights: [groups, N, width] x [groups, width, members].
        let grouped = h
            .transpose(0, 1)?
            .contiguous()?
            .matmul(&self.group_weight.var)?;
        let all = grouped.transpose(0, 1)?.flatten_from(1)?;
        let logits = all.narrow(1, 0, self.bias.var.dim(0)?)?;
        Ok(logits.broadcast_add(&self.bias.var)?)
    }

    /// Returns the factor on the products of queries and keys.
    fn scale(&self, width: usize) -> f64 {
        1.0 / ((width / self.attention_heads) as f64).sqrt()
    }

    /// Returns the weight and bias of the queries (0), keys (1) or values (2).
    fn projection(&self, number: usize) -> Result<(Tensor, Tensor)> {
        let Pair { weight, bias } = &self.projection;
        let width = weight.var.dim(1)?;
        let weight = weight.var.narrow(0, number * width, width)?;
        Ok((weight, bias.var.narrow(0, number * width, width)?))
    }

    /// Projects `x` `[N, locations, width]` to queries, keys or values
    /// `[N, heads, locations, width / heads]`.
    fn projected(&self, x: &Tensor, number: usize) -> Result<Tensor> {
        let (weight, bias) = self.projection(number)?;
        let (batch, places, width) = x.dims3()?;
        let heads = self.attention_heads;
        let y = linear(x, &weight, Some(&bias))?;
        let y = y.reshape((batch, places, heads, width / heads))?;
        Ok(y.transpose(1, 2)?.contiguous()?)
    }

    /// Multi-head attention of the queries `h` over `memory`.
    fn attend(
        &self,
        h: &Tensor,
        memory: &Tensor,
        drop: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (query, key, value) = (
            (self.projected(h, 0)? * self.scale(h.dim(2)?))?,
            self.projected(memory, 1)?,
            self.projected(memory, 2)?,
        );
        let attention = softmax(&query.matmul(&key.t()?)?, 3)?;
        let found = drop(&attention)?.matmul(&value)?;
        self.output
            .linear(&found.transpose(1, 2)?.contiguous()?.flatten_from(2)?)
    }

    /// Writes [`Decoder::attend`] into `graph`, for queries `h` `[groups, width]` that are the same
    /// for every image.
    fn attend_in(&self, graph: &mut Graph, h: &Tensor, memory: &Value) -> Result<Value> {
        let (heads, width) = (self.attention_heads, h.dim(1)?);
        let Pair { weight, bias } = &self.projection;
        let queries = (self.projected(&h.unsqueeze(0)?, 0)? * self.scale(width))?;
        let queries = derived(graph, weight, "queries", &queries)?;
        let mut part = |number: usize, what: &str, order: &[i64]| -> Result<Value> {
            let (own, shift) = self.projection(number)?;
            let own = derived(graph, weight, what, &own.t()?)?;
            let shift = derived(graph, bias, what, &shift)?;
            let product = graph.matrix_product(memory, &own);
            let y = graph.add(&product, &shift);
            let y = graph.reshape(&y, &[0, 0, heads as i64, (width / heads) as i64]);
            Ok(graph.transpose(&y, order))
        };
        let keys = part(1, "keys", &[0, 2, 3, 1])?;
        let values = part(2, "values", &[0, 2, 1, 3])?;
        let products = graph.matrix_product(&queries, &keys);
        let attention = graph.softmax(&products, -1);
        let found = graph.matrix_product(&attention, &values);
        let found = graph.transpose(&found, &[0, 2, 1, 3]);
        let found = graph.reshape(&found, &[0, 0, width as i64]);
        self.output.linear_in(graph, &found)
    }
}
