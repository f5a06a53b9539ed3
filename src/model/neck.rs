//! The neck between backbone and head: linear, batch norm, dropout (paper, section 4.1), or
//! nothing.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use candle_nn::Init;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Table;

use super::backbone::Tape;
use super::builder::Builder;
use super::constants::constant;
use super::dropout::dropout;
use super::parameters::{Gradients, Parameter};
use crate::error::{KeyPath, Result};
use crate::layers::{deserialize_table, kind, read_table, unknown_kind};
use crate::onnx::{Graph, Value};
use crate::ops::graph::{self, Lazy, Normalised};
use crate::range::Range;
use crate::rng::Stream;

/// The `[model.neck]` table: `kind`, `published` where it is left out, and the keys of the kind.
#[derive(Debug, Clone, PartialEq)]
pub enum NeckConfig {
    /// The neck of the published recipe.
    Published(Published),
    /// None: the head works on what the backbone hands out.
    None,
}

/// Settings of the published neck. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// Width of the embedding, 256.
    pub out_channels: usize,
    /// Probability that an entry is dropped while training, 0.5; in [0, 1).
    pub dropout: f64,
}

impl Default for Published {
    fn default() -> Self {
        Published {
            out_channels: 256,
            dropout: 0.5,
        }
    }
}

impl Default for NeckConfig {
    fn default() -> Self {
        NeckConfig::Published(Published::default())
    }
}

/// A neck without keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl NeckConfig {
    /// The kinds, with the default first.
    pub const KINDS: [&'static str; 2] = ["published", "none"];

    /// Reads the table at the key `at`.
    ///
    /// # Errors
    /// If a key or its value is not one of those accepted.
    pub fn from_table(table: &Table, at: &KeyPath) -> Result<Self> {
        let mut own = table.clone();
        own.remove("kind");
        let beside = ["kind"];
        match kind(table, at, Self::KINDS[0])? {
            "published" => read_table(&own, at, &beside).map(NeckConfig::Published),
            "none" => read_table::<Nothing>(&own, at, &beside).map(|_| NeckConfig::None),
            other => Err(unknown_kind(other, at, &Self::KINDS)),
        }
    }

    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        let NeckConfig::Published(published) = self else {
            return Ok(());
        };
        Range::AtLeast(1).check_whole(&at.join("out_channels"), published.out_channels)?;
        Range::Below(0.0, 1.0).check(&at.join("dropout"), published.dropout)
    }
}

impl Serialize for NeckConfig {
    /// The published neck is written without its kind, as it always was, so that the hashes of
    /// experiments do not change.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NeckConfig::Published(published) => published.serialize(serializer),
            NeckConfig::None => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("kind", "none")?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for NeckConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_table(deserializer, "model.neck", Self::from_table)
    }
}

/// The constants of the batch norm, PyTorch's defaults.
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The published neck. Parameters: `neck.fc.{weight,bias}`, `neck.bn.{weight,bias,running_mean,running_var}`.
#[derive(Debug)]
pub struct Neck {
    weight: Parameter,
    bias: Parameter,
    bn_weight: Parameter,
    bn_bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
    dropout: f64,
}

impl Neck {
    /// Creates the parameters: weight Kaiming normal by the fan-out, bias 0.
    pub fn new(config: &Published, in_features: usize, builder: &Builder) -> Result<Self> {
        let width = config.out_channels;
        // Kaiming normal by the fan-out, with the gain of a ReLU.
        let drawn = Init::Randn {
            mean: 0.0,
            stdev: (2.0 / width as f64).sqrt(),
        };
        let builder = builder.pp("neck");
        let (fc, bn) = (builder.pp("fc"), builder.pp("bn"));
        Ok(Neck {
            weight: fc.parameter("weight", &[width, in_features], drawn)?,
            bias: fc.parameter("bias", &[width], Init::Const(0.0))?,
            bn_weight: bn.parameter("weight", &[width], Init::Const(1.0))?,
            bn_bias: bn.parameter("bias", &[width], Init::Const(0.0))?,
            running_mean: bn.buffer("running_mean", width, 0.0)?,
            running_var: bn.buffer("running_var", width, 1.0)?,
            dropout: config.dropout,
        })
    }

    /// Maps [N, F] to [N, width] in evaluation, with running statistics and without dropout.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let x = self.linear(features)?;
        self.normalise(
            &x,
            self.running_mean.var.as_tensor(),
            self.running_var.var.as_tensor(),
        )
    }

    /// Writes [`Neck::forward`] into `graph`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    pub fn forward_in(&self, graph: &mut Graph, features: &Value) -> Result<Value> {
        let (weight, bias) = (constant(graph, &self.weight)?, constant(graph, &self.bias)?);
        let x = graph.at("neck").linear(features, &weight, Some(&bias), 1.0);
        let of_channel = [
            constant(graph, &self.bn_weight)?,
            constant(graph, &self.bn_bias)?,
            constant(graph, &self.running_mean)?,
            constant(graph, &self.running_var)?,
        ];
        Ok(graph.batch_norm(&x, of_channel.each_ref(), EPS))
    }

    /// Training of a frozen neck: as in evaluation, but with dropout, whose mask is drawn from
    /// `stream`. Its running statistics do not change.
    pub fn forward_held(&self, features: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        dropout(&self.forward(features)?, self.dropout, stream)
    }

    /// Maps [N, F] to [N, width] in training, with batch statistics, which also update the running
    /// ones; the dropout mask is drawn from `stream`. If nothing below is trainable, the linear
    /// layer stays outside candle's graph, which would copy and add the gradient of its large
    /// matrix; the tape computes it instead.
    pub fn forward_train(
        &self,
        features: &Tensor,
        stream: &mut Stream,
    ) -> Result<(Tensor, Option<Box<dyn Tape>>)> {
        let (x, tape) = match features.track_op() {
            true => (self.linear(features)?, None),
            false => {
                let output = Var::from_tensor(&self.linear(features)?.detach())?.into_inner();
                let tape: Box<dyn Tape> = Box::new(LinearTape {
                    weight: self.weight.clone(),
                    bias: self.bias.clone(),
                    features: features.clone(),
                    output: output.clone(),
                });
                (output, Some(tape))
            }
        };
        let count = x.dim(0)?;
        let (gamma, beta) = (self.bn_weight.var.as_tensor(), self.bn_bias.var.as_tensor());
        let Normalised {
            output: y,
            mean,
            variance,
        } = graph::batch_norm(&x, gamma, beta, EPS)?;

        // PyTorch keeps the unbiased variance but normalises with the biased one.
        let unbiased = (variance * (count as f64 / (count.max(2) - 1) as f64))?;
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let kept = (running.var.as_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (batch * MOMENTUM)?)?)?;
        }
        Ok((dropout(&y, self.dropout, stream)?, tape))
    }

    fn linear(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.var.as_tensor();
        graph::linear(x, self.weight.var.as_tensor(), Some(bias))
    }

    fn normalise(&self, x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let scale = (variance + EPS)?.sqrt()?.recip()?;
        Ok(x.broadcast_sub(mean)?
            .broadcast_mul(&(scale * self.bn_weight.var.as_tensor())?)?
            .broadcast_add(&self.bn_bias.var)?)
    }
}

/// The linear layer of a training pass, outside candle's graph.
#[derive(Debug)]
struct LinearTape {
    weight: Parameter,
    bias: Parameter,
    /// The input, [N, F].
    features: Tensor,
    /// The output, [N, width].
    output: Tensor,
}

impl Tape for LinearTape {
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()> {
        let Some(gradient) = found.get(&self.output) else {
            return Ok(());
        };
        let of_weight = Lazy::product(gradient, &self.features)?;
        gradients.set(&self.weight, of_weight);
        gradients.set(&self.bias, gradient.sum(0)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Parameters;
    use candle_core::{DType, Device};

    fn neck(dropout: f64) -> (Neck, Parameters) {
        let config = Published {
            out_channels: 64,
            dropout,
        };
        let builder = Builder::new(&Device::Cpu, DType::F32, 3);
        let neck = Neck::new(&config, 8, &builder).unwrap();
        (neck, builder.parameters())
    }

    fn features() -> Tensor {
        let mut stream = Stream::new(1, "features", 0, 0);
        let values: Vec<f32> = (0..32 * 8).map(|_| stream.normal() as f32).collect();
        Tensor::from_vec(values, (32, 8), &Device::Cpu).unwrap()
    }

    #[test]
    fn batch_statistics_normalise_the_output_and_move_the_running_ones() {
        let (neck, parameters) = neck(0.0);
        let mut stream = Stream::new(0, "dropout", 0, 0);
        let x = neck.linear(&features()).unwrap();
        let (y, _) = neck.forward_train(&features(), &mut stream).unwrap();
        let mean = y.mean(0).unwrap().abs().unwrap().max(0).unwrap();
        assert!(mean.to_scalar::<f32>().unwrap() < 1e-5);
        let expected = x.mean(0).unwrap().to_vec1::<f32>().unwrap();
        let running = parameters.var("neck.bn.running_mean").unwrap();
        for (running, mean) in running.to_vec1::<f32>().unwrap().iter().zip(expected) {
            assert!((running - 0.1 * mean).abs() < 1e-6);
        }
    }

    #[test]
    fn a_neck_that_is_held_normalises_as_in_evaluation_and_stays_as_it_is() {
        let (neck, parameters) = neck(0.0);
        let mut stream = Stream::new(0, "dropout", 0, 0);
        neck.forward_train(&features(), &mut stream).unwrap();
        let values = || -> Vec<Vec<f32>> {
            let all = parameters.iter();
            all.map(|p| p.var.flatten_all().unwrap().to_vec1().unwrap())
                .collect()
        };
        let before = values();
        let held = neck.forward_held(&features(), &mut stream).unwrap();
        assert_eq!(values(), before);
        let evaluated = neck.forward(&features()).unwrap();
        assert_eq!(
            held.to_vec2::<f32>().unwrap(),
            evaluated.to_vec2::<f32>().unwrap()
        );
    }

    #[test]
    fn kinds_are_read_and_the_published_one_is_written_as_it_always_was() {
        let read = |text: &str| {
            NeckConfig::from_table(&text.parse().unwrap(), &KeyPath::from("model.neck"))
        };
        let before = "out_channels = 256\ndropout = 0.5\n";
        assert_eq!(toml::to_string(&NeckConfig::default()).unwrap(), before);
        for text in ["", before, "kind = 'published'"] {
            assert_eq!(read(text).unwrap(), NeckConfig::default());
        }
        let none = read("kind = 'none'").unwrap();
        assert_eq!(toml::to_string(&none).unwrap(), "kind = \"none\"\n");
        for (text, expected) in [
            ("kind = 'none'\ndropout = 0.1", "model.neck.dropout"),
            ("kind = 'nome'", "one of `published`, `none`"),
            ("kind = 3", "a name in quotes"),
            ("width = 3", "model.neck.width"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
