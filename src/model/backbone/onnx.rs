//! The nodes of a network as ONNX operations, with one function per kind of node for all networks.

use super::architecture::{
    AttentionNode, AveragePoolNode, ConvNode, MaxPoolNode, Source, TokensNode,
};
use super::interface::Parts;
use super::layers::{
    AffineParameters, BatchNorm, ConvParameters, Layer, NormParameters, TokensParameters,
};
use crate::error::Result;
use crate::model::constants::{constant, derived, product};
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Maps, Value, Window};
use crate::ops::{Activation, Padding, graph as tensors};

/// Writes a network into `graph`, from normalised images `[batch, 3, rows, columns]` of this size
/// to the output of its last node.
///
/// # Errors
/// If a tensor cannot be read.
pub fn write(
    parts: &Parts,
    graph: &mut Graph,
    pictures: &Value,
    size: (usize, usize),
) -> Result<Maps> {
    let image = Maps::of_pictures(pictures.clone(), 3, size);
    let mut outputs: Vec<Maps> = Vec::with_capacity(parts.layers.len());
    for (node, layer) in parts.architecture.nodes.iter().zip(parts.layers) {
        let input = match node.input() {
            Source::Image => &image,
            Source::Node(index) => &outputs[index],
        };
        let second = node.second().map(|index| &outputs[index]);
        let size = node.output_size(input.size);
        let output = match layer {
            Layer::Conv(conv, parameters) => {
                convolve(graph.at(&conv.conv), input, second, conv, parameters, size)?
            }
            Layer::MaxPool(pool) => max_pool(graph.at("maxpool"), input, pool, size),
            Layer::AveragePool(pool) => average_pool(graph.at("avgpool"), input, pool, size),
            Layer::LayerNorm(norm, parameters) => {
                layer_norm(graph.at(&norm.name), input, norm.epsilon, parameters)?
            }
            Layer::Average(_) => average(graph.at("average"), input, size),
            Layer::Gate(node) => gate(graph.at("gate"), input, &outputs[node.gate]),
            Layer::Tokens(node, parameters) => {
                tokens(graph.at("tokens"), input, node, parameters, size)?
            }
            Layer::Attention(node) => attention(graph.at(&node.name), input, node),
        };
        outputs.push(output);
    }
    Ok(outputs.pop().unwrap_or(image))
}

/// Writes a convolution, norm or bias, residual and activation. A 1x1 convolution over a list of
/// places becomes a matrix product.
fn convolve(
    graph: &mut Graph,
    input: &Maps,
    residual: Option<&Maps>,
    node: &ConvNode,
    parameters: &ConvParameters,
    size: (usize, usize),
) -> Result<Maps> {
    let is_pointwise = (node.kernel, node.stride, node.groups) == (1, 1, 1);
    let as_places = is_pointwise && !node.has_norm() && (node.linear || input.are_places());
    let (bias, scaling) = match &parameters.affine {
        AffineParameters::BatchNorm(norm) => (None, Scaling::Norm(norm)),
        AffineParameters::Bias(bias) => (Some(bias), Scaling::None),
        AffineParameters::LayerScale { bias, scale } => (Some(bias), Scaling::Factor(scale)),
        AffineParameters::Scaled { bias, factor } => (Some(bias), Scaling::Number(*factor)),
        AffineParameters::None => (None, Scaling::None),
    };
    let x = match as_places {
        true => {
            let places = input.places(graph);
            pointwise(graph, &places, node, parameters, bias)?
        }
        false => windowed(graph, input, node, parameters, bias)?,
    };
    let x = match scaling {
        Scaling::None => x,
        Scaling::Number(factor) => graph.times(&x, factor),
        Scaling::Norm(norm) => batch_norm(graph, &x, norm)?,
        Scaling::Factor(scale) => {
            // One number per channel: channels are the last dimension of places and the second of
            // images.
            let (values, channels) = (scale.var.flatten_all()?, node.out_channels);
            let factor = match as_places {
                true => values,
                false => values.reshape((channels, 1, 1))?,
            };
            let factor = derived(graph, scale, "factor", &factor)?;
            graph.multiply(&x, &factor)
        }
    };
    let x = match residual {
        None => x,
        Some(residual) => {
            let branch = match as_places {
                true => residual.places(graph),
                false => residual.pictures(graph),
            };
            graph.add(&x, &branch)
        }
    };
    let x = activate(graph, &x, node.activation);
    Ok(match as_places {
        true => Maps::of_places(x, node.out_channels, size),
        false => Maps::of_pictures(x, node.out_channels, size),
    })
}

/// The transformation after the bias of a convolution.
enum Scaling<'a> {
    None,
    Norm(&'a BatchNorm),
    Factor(&'a Parameter),
    Number(f64),
}

/// Writes a 1x1 convolution over places `[batch, places, channels]`.
fn pointwise(
    graph: &mut Graph,
    places: &Value,
    node: &ConvNode,
    parameters: &ConvParameters,
    bias: Option<&Parameter>,
) -> Result<Value> {
    let matrix = parameters.whole_weight()?.detach();
    let matrix = matrix.reshape((node.out_channels, node.in_channels))?;
    product(graph, places, (&parameters.weight, &matrix), bias)
}

fn windowed(
    graph: &mut Graph,
    input: &Maps,
    node: &ConvNode,
    parameters: &ConvParameters,
    bias: Option<&Parameter>,
) -> Result<Value> {
    let weight = match node.linear {
        true => {
            let matrix = parameters.whole_weight()?.detach();
            let window = matrix.unsqueeze(2)?.unsqueeze(3)?;
            derived(graph, &parameters.weight, "window", &window)?
        }
        false => constant(graph, &parameters.weight)?,
    };
    let bias = bias.map(|bias| constant(graph, bias)).transpose()?;
    let pictures = input.pictures(graph);
    let window = window(node.kernel, node.stride, node.padding, input.size);
    Ok(graph.convolution(&pictures, &weight, bias.as_ref(), &window, node.groups))
}

/// Returns the window, with the padding for images of this size.
fn window(
    kernel: usize,
    stride: usize,
    padding: Padding,
    (rows, columns): (usize, usize),
) -> Window {
    let (above, below) = padding.zeros(rows, kernel, stride);
    let (left, right) = padding.zeros(columns, kernel, stride);
    Window {
        kernel,
        stride,
        padding: [above, left, below, right],
    }
}

fn batch_norm(graph: &mut Graph, x: &Value, norm: &BatchNorm) -> Result<Value> {
    let scale = constant(graph, &norm.gamma)?;
    let shift = constant(graph, &norm.beta)?;
    let mean = constant(graph, &norm.mean)?;
    let variance = constant(graph, &norm.variance)?;
    Ok(graph.batch_norm(x, [&scale, &shift, &mean, &variance], norm.epsilon))
}

fn activate(graph: &mut Graph, x: &Value, activation: Activation) -> Value {
    let gated = |graph: &mut Graph, gate: Value| graph.multiply(x, &gate);
    match activation {
        Activation::None => x.clone(),
        Activation::Relu => graph.relu(x),
        Activation::Relu6 => graph.clip(x, 0.0, 6.0),
        Activation::Sigmoid => graph.sigmoid(x),
        Activation::HardSigmoid => graph.hard_sigmoid(x),
        Activation::Gelu => graph.gelu(x),
        Activation::Silu => {
            let gate = graph.sigmoid(x);
            gated(graph, gate)
        }
        Activation::HardSwish => {
            let gate = graph.hard_sigmoid(x);
            gated(graph, gate)
        }
        Activation::QuickGelu => {
            let scaled = graph.times(x, 1.702);
            let gate = graph.sigmoid(&scaled);
            gated(graph, gate)
        }
    }
}

fn max_pool(graph: &mut Graph, input: &Maps, node: &MaxPoolNode, size: (usize, usize)) -> Maps {
    let shape = &node.shape;
    let padding = Padding::Symmetric(shape.padding);
    let window = window(shape.kernel, shape.stride, padding, input.size);
    let pictures = input.pictures(graph);
    Maps::of_pictures(graph.max_pool(&pictures, &window), shape.channels, size)
}

fn average_pool(
    graph: &mut Graph,
    input: &Maps,
    node: &AveragePoolNode,
    size: (usize, usize),
) -> Maps {
    let shape = &node.shape;
    let window = window(shape.side, shape.side, Padding::Symmetric(0), input.size);
    let pictures = input.pictures(graph);
    Maps::of_pictures(graph.average_pool(&pictures, &window), shape.channels, size)
}

fn layer_norm(
    graph: &mut Graph,
    input: &Maps,
    epsilon: f64,
    parameters: &NormParameters,
) -> Result<Maps> {
    let places = input.places(graph);
    let scale = constant(graph, &parameters.gamma)?;
    let shift = constant(graph, &parameters.beta)?;
    let normed = graph.layer_norm(&places, &scale, &shift, epsilon);
    Ok(Maps::of_places(normed, input.channels, input.size))
}

/// The mean over pixels.
fn average(graph: &mut Graph, input: &Maps, size: (usize, usize)) -> Maps {
    let pictures = input.pictures(graph);
    Maps::of_pictures(graph.global_average(&pictures), input.channels, size)
}

/// Multiplies each channel by its number in `gate`, maps of one pixel.
fn gate(graph: &mut Graph, input: &Maps, gate: &Maps) -> Maps {
    let (pictures, gate) = (input.pictures(graph), gate.pictures(graph));
    let gated = graph.multiply(&pictures, &gate);
    Maps::of_pictures(gated, input.channels, input.size)
}

/// Writes the step from patches to tokens. The leading tokens are the same for every image, and the
/// position embeddings are those of the image size of the graph.
fn tokens(
    graph: &mut Graph,
    input: &Maps,
    node: &TokensNode,
    parameters: &TokensParameters,
    size: (usize, usize),
) -> Result<Maps> {
    let (channels, side) = (node.channels, node.side);
    let learned = &parameters.positions;
    let positions = learned.var.squeeze(0)?;
    let before = usize::from(node.class_has_position);
    let mut class = parameters.class.var.squeeze(0)?;
    if node.class_has_position {
        class = (class + positions.narrow(0, 0, 1)?)?;
    }
    let mut first = vec![class];
    if let Some(registers) = &parameters.registers {
        first.push(registers.var.squeeze(0)?);
    }
    let first = candle_core::Tensor::cat(&first, 0)?;
    let grid = positions.narrow(0, before, side * side)?;
    let grid = tensors::resampled(&grid, side, input.size)?;
    let grid = derived(graph, learned, "grid", &grid)?;
    let first_value = derived(graph, &parameters.class, "first", &first)?;
    let places = input.places(graph);
    let patches = graph.add(&places, &grid);
    let first = graph.repeated(&first_value, first.dims(), &places);
    let all = graph.join(&[&first, &patches], 1);
    Ok(Maps::of_places(all, channels, size))
}

/// Attention among tokens `[batch, tokens, 3 * channels]`.
fn attention(graph: &mut Graph, input: &Maps, node: &AttentionNode) -> Maps {
    let shape = &node.shape;
    let (channels, heads, width) = (shape.channels, shape.heads, shape.width());
    let all = input.places(graph);
    let part = |graph: &mut Graph, number: usize, order: &[i64]| {
        let part = graph.part(&all, number * channels, (number + 1) * channels, 2);
        let split = graph.reshape(&part, &[0, 0, heads as i64, width as i64]);
        graph.transpose(&split, order)
    };
    let queries = part(graph, 0, &[0, 2, 1, 3]);
    let keys = part(graph, 1, &[0, 2, 3, 1]);
    let values = part(graph, 2, &[0, 2, 1, 3]);
    let queries = graph.times(&queries, f64::from(shape.scale()));
    let products = graph.matrix_product(&queries, &keys);
    let shares = graph.softmax(&products, -1);
    let found = graph.matrix_product(&shares, &values);
    let found = graph.transpose(&found, &[0, 2, 1, 3]);
    let found = graph.reshape(&found, &[0, 0, channels as i64]);
    Maps::of_places(found, channels, input.size)
}
