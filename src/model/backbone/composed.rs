//! The backbone composed of candle's operations, in candle's layout
//! `[batch, channels, height, width]`: for devices other than the CPU, and as the reference for the
//! engine's tests. It computes in the type of the parameters, so that tests can use `f64`.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::architecture::{Architecture, ConvNode, MaxPoolNode, Source, TokensNode};
use super::config::BackboneConfig;
use super::interface::{Backbone, InGraph, Parts, Tape, check_images};
use super::layers::{
    AffineParameters, BatchNorm, ConvParameters, Layer, NormParameters, TokensParameters,
};
use crate::error::Result;
use crate::model::parameters::Parameter;
use crate::model::pooling::{Features, Pooler};
use crate::ops::attention::AttentionShape;
use crate::ops::{Activation, Padding, graph};

/// The executor.
#[derive(Debug)]
pub struct Composed {
    config: BackboneConfig,
    architecture: Architecture,
    /// One layer per node.
    layers: Vec<Layer>,
    pooler: Arc<dyn Pooler>,
}

impl Composed {
    /// Creates an executor for an architecture with its layers.
    pub fn new(
        config: &BackboneConfig,
        architecture: Architecture,
        layers: Vec<Layer>,
        pooler: Arc<dyn Pooler>,
    ) -> Self {
        Composed {
            config: config.clone(),
            architecture,
            layers,
            pooler,
        }
    }

    /// Returns the output of the last node, channels last.
    fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let dtype = match self.layers.first() {
            Some(Layer::Conv(_, parameters)) => parameters.weight.var.dtype(),
            _ => DType::F32,
        };
        let images = images
            .permute((0, 3, 1, 2))?
            .contiguous()?
            .to_dtype(dtype)?;
        let mut outputs: Vec<Tensor> = Vec::with_capacity(self.architecture.nodes.len());
        for (node, layer) in self.architecture.nodes.iter().zip(&self.layers) {
            let input = match node.input() {
                Source::Image => &images,
                Source::Node(index) => &outputs[index],
            };
            let second = node.second().map(|index| &outputs[index]);
            let own_statistics = train && !self.config.norm_eval;
            let output = apply(layer, input, second, own_statistics)?;
            outputs.push(output);
        }
        let last = outputs.last().unwrap_or(&images);
        Ok(last.permute((0, 2, 3, 1))?)
    }
}

impl Backbone for Composed {
    fn num_pooled(&self) -> usize {
        self.architecture.num_pooled()
    }

    fn num_map_features(&self) -> usize {
        self.architecture.num_map_features()
    }

    fn features(&self, images: &Tensor) -> Result<Features> {
        let size = check_images(images, self.architecture.patch())?;
        let output = self.forward(images, false)?.detach();
        Ok(Features::new(output, size, self.pooler.clone()))
    }

    fn forward_train(&self, images: &Tensor) -> Result<(Features, Box<dyn Tape>)> {
        let size = check_images(images, self.architecture.patch())?;
        let parameters = self.layers.iter().flat_map(Layer::parameters);
        let tape = InGraph::of(parameters.chain(self.pooler.parameters()));
        let output = self.forward(images, true)?;
        let features = Features::new(output, size, self.pooler.clone());
        Ok((features, Box::new(tape)))
    }

    fn parts(&self) -> Option<Parts<'_>> {
        Some(Parts {
            architecture: &self.architecture,
            layers: &self.layers,
            pooler: &*self.pooler,
        })
    }
}

/// Applies a layer to its input and to the second node that it reads, if any. Norms use the
/// statistics of the batch or the running ones.
pub(super) fn apply(
    layer: &Layer,
    input: &Tensor,
    second: Option<&Tensor>,
    own_statistics: bool,
) -> Result<Tensor> {
    Ok(match layer {
        Layer::MaxPool(pool) => max_pool(input, pool)?,
        Layer::Conv(conv, parameters) => {
            let x = convolve(input, conv, parameters)?;
            let x = scale(&x, &parameters.affine, own_statistics)?;
            let x = match second {
                Some(residual) => (x + residual)?,
                None => x,
            };
            activate(&x, conv.activation)?
        }
        Layer::LayerNorm(norm, parameters) => layer_norm(input, norm.epsilon, parameters)?,
        Layer::AveragePool(node) => average_pool(input, node.shape.side)?,
        Layer::Average(_) => input.mean_keepdim((2, 3))?,
        Layer::Gate(_) => match second {
            Some(gate) => input.broadcast_mul(gate)?,
            None => input.clone(),
        },
        Layer::Tokens(node, parameters) => tokens(input, node, parameters)?,
        Layer::Attention(node) => attention(input, &node.shape)?,
    })
}

fn convolve(input: &Tensor, node: &ConvNode, parameters: &ConvParameters) -> Result<Tensor> {
    let weight = parameters.whole_weight()?;
    let weight = match node.linear {
        true => weight.unsqueeze(2)?.unsqueeze(3)?,
        false => weight,
    };
    let (padding, padded) = match node.padding {
        Padding::Symmetric(padding) => (padding, input.clone()),
        Padding::Same => {
            let mut padded = input.clone();
            for dim in [2, 3] {
                let (before, after) = node
                    .padding
                    .zeros(input.dim(dim)?, node.kernel, node.stride);
                padded = padded.pad_with_zeros(dim, before, after)?;
            }
            (0, padded)
        }
    };
    Ok(padded.conv2d(&weight, padding, node.stride, 1, node.groups)?)
}

/// Reshapes one value per channel for broadcasting over `[batch, channels, height, width]`.
fn channel(values: &Tensor) -> Result<Tensor> {
    Ok(values.reshape((1, (), 1, 1))?)
}

/// Applies the affine transformation that follows a convolution.
fn scale(x: &Tensor, affine: &AffineParameters, batch_statistics: bool) -> Result<Tensor> {
    let add = |bias: &Parameter| Ok(x.broadcast_add(&channel(&bias.tensor())?)?);
    match affine {
        AffineParameters::BatchNorm(norm) => batch_norm(x, norm, batch_statistics),
        AffineParameters::Bias(bias) => add(bias),
        AffineParameters::Scaled { bias, factor } => Ok((add(bias)? * *factor)?),
        AffineParameters::None => Ok(x.clone()),
        AffineParameters::LayerScale { bias, scale } => {
            Ok(add(bias)?.broadcast_mul(&channel(&scale.tensor())?)?)
        }
    }
}

/// Batch norm from primitive operations. With batch statistics, the running ones are updated.
fn batch_norm(x: &Tensor, norm: &BatchNorm, batch_statistics: bool) -> Result<Tensor> {
    let (mean, variance) = if batch_statistics {
        let (batch, _, height, width) = x.dims4()?;
        let count = (batch * height * width) as f64;
        let flat = x.transpose(0, 1)?.flatten_from(1)?;
        let mean = flat.mean_keepdim(1)?;
        let variance = flat.broadcast_sub(&mean)?.sqr()?.mean(1)?;
        let mean = mean.squeeze(1)?;
        norm.update_running(&mean, &(&variance * (count / (count - 1.0)))?)?;
        (mean, variance)
    } else {
        let running = |kept: &Parameter| kept.var.as_detached_tensor();
        (running(&norm.mean), running(&norm.variance))
    };
    let scale = norm
        .gamma
        .tensor()
        .div(&(variance + norm.epsilon)?.sqrt()?)?;
    let centred = x.broadcast_sub(&channel(&mean)?)?;
    Ok(centred
        .broadcast_mul(&channel(&scale)?)?
        .broadcast_add(&channel(&norm.beta.tensor())?)?)
}

/// Layer norm over the channels from primitive operations.
fn layer_norm(x: &Tensor, epsilon: f64, norm: &NormParameters) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    let normed = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    Ok(normed
        .broadcast_mul(&channel(&norm.gamma.tensor())?)?
        .broadcast_add(&channel(&norm.beta.tensor())?)?)
}

/// The mean over adjacent windows.
fn average_pool(x: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = (height / side, width / side);
    let whole = x.narrow(2, 0, rows * side)?.narrow(3, 0, columns * side)?;
    let windows = whole
        .contiguous()?
        .reshape(vec![batch * channels, rows, side, columns, side])?;
    let means = windows.mean((2, 4))?;
    Ok(means.reshape((batch, channels, rows, columns))?)
}

/// Turns patches `[batch, channels, rows, columns]` into tokens `[batch, channels, tokens, 1]`.
fn tokens(x: &Tensor, node: &TokensNode, parameters: &TokensParameters) -> Result<Tensor> {
    let (batch, channels, rows, columns) = x.dims4()?;
    let positions = parameters.positions.tensor().squeeze(0)?;
    let mut class = parameters.class.tensor().squeeze(0)?;
    let before = usize::from(node.class_has_position);
    if node.class_has_position {
        class = (class + positions.narrow(0, 0, 1)?)?;
    }
    let mut first = vec![class];
    if let Some(registers) = &parameters.registers {
        first.push(registers.tensor().squeeze(0)?);
    }
    let (side, count) = (node.side, rows * columns);
    let grid = positions.narrow(0, before, side * side)?;
    let grid = graph::resampled(&grid, side, (rows, columns))?;
    let patches = x.flatten_from(2)?.transpose(1, 2)?;
    let patches = patches.broadcast_add(&grid.reshape((1, count, channels))?)?;
    let first = Tensor::cat(&first, 0)?.unsqueeze(0)?;
    let first = first.broadcast_as((batch, first.dim(1)?, channels))?;
    let tokens = Tensor::cat(&[&first.contiguous()?, &patches.contiguous()?], 1)?;
    Ok(tokens.transpose(1, 2)?.unsqueeze(3)?.contiguous()?)
}

/// Maps queries, keys and values `[batch, 3 * channels, tokens, 1]` to
/// `[batch, channels, tokens, 1]`.
fn attention(x: &Tensor, shape: &AttentionShape) -> Result<Tensor> {
    let (batch, _, tokens, one) = x.dims4()?;
    let split = x.reshape((batch, 3, shape.heads, shape.width(), tokens))?;
    let part = |index: usize| -> Result<Tensor> {
        let part = split.narrow(1, index, 1)?.squeeze(1)?;
        Ok(part.contiguous()?)
    };
    // Per head: [width, tokens].
    let (queries, keys, values) = (part(0)?, part(1)?, part(2)?);
    let scale = 1.0 / (shape.width() as f64).sqrt();
    let products = (queries.transpose(2, 3)?.contiguous()?.matmul(&keys)? * scale)?;
    let shares = graph::softmax(&products, 3)?;
    let output = values.matmul(&shares.transpose(2, 3)?.contiguous()?)?;
    Ok(output.reshape((batch, shape.channels, tokens, one))?)
}

/// Applies an activation by multiplication with a constant mask, so that its derivative at the
/// corners is 0 as in PyTorch (that of candle's own `relu` is 1).
fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let positive = || x.gt(0.0)?.to_dtype(x.dtype());
    Ok(match activation {
        Activation::None => x.clone(),
        Activation::Relu => (x * positive()?)?,
        Activation::Relu6 => between(x, 0.0, 6.0)?,
        Activation::Sigmoid => sigmoid(x)?,
        Activation::Silu => (x * sigmoid(x)?)?,
        Activation::HardSigmoid => (between(&(x + 3.0)?, 0.0, 6.0)? / 6.0)?,
        Activation::HardSwish => (x * (between(&(x + 3.0)?, 0.0, 6.0)? / 6.0)?)?,
        Activation::QuickGelu => (x * sigmoid(&(x * 1.702)?)?)?,
        Activation::Gelu => {
            let share = ((x / 2f64.sqrt())?.erf()? + 1.0)?;
            (x * (share * 0.5)?)?
        }
    })
}

/// `min(max(x, low), high)`, with derivative 0 at the corners too.
fn between(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let inside = (x.gt(low)?.to_dtype(x.dtype())? * x.lt(high)?.to_dtype(x.dtype())?)?;
    let above = x.ge(high)?.to_dtype(x.dtype())?;
    let below = x.le(low)?.to_dtype(x.dtype())?;
    Ok((((x * inside)? + (above * high)?)? + (below * low)?)?)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// Max pooling as the maximum of shifted views of the padded input.
fn max_pool(x: &Tensor, node: &MaxPoolNode) -> Result<Tensor> {
    let shape = &node.shape;
    let (_, _, height, width) = x.dims4()?;
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    // The last window may need more rows than the padding provides; extra ones never win.
    let far = shape.padding + shape.stride;
    let mut padded = x.clone();
    for dim in [2, 3] {
        let border = |size: usize| {
            let mut dims = padded.dims().to_vec();
            dims[dim] = size;
            Tensor::full(-1e30f32, dims, x.device())?.to_dtype(x.dtype())
        };
        padded = Tensor::cat(&[&border(shape.padding)?, &padded, &border(far)?], dim)?;
    }
    let view = |row: usize, column: usize| -> Result<Tensor> {
        let mut view = padded.clone();
        for (dim, start, count) in [(2, row, rows), (3, column, columns)] {
            // Takes every `stride`-th index: narrows to whole strides, splits, takes the first of
            // each.
            let narrowed = view.narrow(dim, start, count * shape.stride)?;
            let mut dims = narrowed.dims().to_vec();
            dims[dim] = count;
            dims.insert(dim + 1, shape.stride);
            view = narrowed
                .contiguous()?
                .reshape(dims)?
                .narrow(dim + 1, 0, 1)?
                .squeeze(dim + 1)?;
        }
        Ok(view)
    };
    let mut best = view(0, 0)?;
    for tap in 1..shape.kernel * shape.kernel {
        best = best.maximum(&view(tap / shape.kernel, tap % shape.kernel)?)?;
    }
    Ok(best)
}
