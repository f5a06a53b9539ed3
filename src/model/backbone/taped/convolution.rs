//! The forward and backward pass of a convolution with its affine transformation, residual and
//! activation.

use candle_core::Tensor;

use super::super::architecture::ConvNode;
use super::super::layers::{AffineParameters, ConvParameters};
use crate::error::Result;
use crate::model::parameters::{Gradients, Parameter, Role};
use crate::ops::cuda::affine::{self, Affine};
use crate::ops::cuda::{Convolution, convolve};

/// The data that the backward pass needs.
#[derive(Debug)]
pub(super) struct Record {
    input: Tensor,
    /// `[outputs, kernel, kernel, channels / groups]`.
    weights: Tensor,
    /// The result of the convolution itself, before norm or bias.
    bare: Tensor,
    affine: Affine,
    own_statistics: bool,
    residual: Option<Tensor>,
}

/// The gradients of a convolution's inputs.
pub(super) struct Back {
    /// Of the input, if it is wanted.
    pub of_input: Option<Tensor>,
    /// Of the residual branch.
    pub of_residual: Tensor,
}

fn geometry(node: &ConvNode) -> Convolution {
    Convolution {
        in_channels: node.in_channels,
        out_channels: node.out_channels,
        kernel: node.kernel,
        stride: node.stride,
        padding: node.padding,
        groups: node.groups,
    }
}

/// Returns the weights in the layout of the kernels.
fn channels_last(node: &ConvNode, weight: &Tensor) -> Result<Tensor> {
    let inner = node.in_channels / node.groups;
    if node.kernel == 1 {
        return Ok(weight.reshape((node.out_channels, 1, 1, inner))?);
    }
    Ok(weight.permute((0, 2, 3, 1))?.contiguous()?)
}

fn vector(parameter: &Parameter) -> Result<Tensor> {
    Ok(parameter.var.as_detached_tensor().flatten_all()?)
}

/// Returns the affine transformation with the statistics that it uses. If they are those of the
/// batch, the running ones are updated.
fn affine_of(parameters: &AffineParameters, bare: &Tensor, own: bool) -> Result<Affine> {
    Ok(match parameters {
        AffineParameters::BatchNorm(norm) => {
            let (mean, inverse) = if own {
                let found = affine::statistics(bare, norm.epsilon)?;
                let channels = bare.dims().last().copied().unwrap_or(1).max(1);
                let pixels = (bare.elem_count() / channels) as f64;
                let unbiased = (&found.variance * (pixels / (pixels - 1.0)))?;
                norm.update_running(&found.mean, &unbiased)?;
                (found.mean, found.inverse)
            } else {
                let inverse = affine::inverse_deviation(&vector(&norm.variance)?, norm.epsilon)?;
                (vector(&norm.mean)?, inverse)
            };
            Affine {
                mean: Some(mean),
                inverse: Some(inverse),
                gamma: Some(vector(&norm.gamma)?),
                beta: Some(vector(&norm.beta)?),
                ..Affine::default()
            }
        }
        AffineParameters::Bias(bias) => Affine {
            before: Some(vector(bias)?),
            ..Affine::default()
        },
        AffineParameters::LayerScale { bias, scale } => Affine {
            before: Some(vector(bias)?),
            gamma: Some(vector(scale)?),
            ..Affine::default()
        },
        AffineParameters::Scaled { bias, factor } => Affine {
            before: Some(vector(bias)?),
            factor: *factor,
            ..Affine::default()
        },
        AffineParameters::None => Affine::default(),
    })
}

/// Returns the output, and the data that the backward pass needs.
pub(super) fn forward(
    node: &ConvNode,
    parameters: &ConvParameters,
    input: &Tensor,
    residual: Option<&Tensor>,
    own_statistics: bool,
) -> Result<(Tensor, Record)> {
    let weight = parameters.whole_weight()?.detach();
    let weights = channels_last(node, &weight)?;
    let bare = convolve::forward(input, &weights, &geometry(node))?;
    let own_statistics = own_statistics && node.has_norm();
    let affine = affine_of(&parameters.affine, &bare, own_statistics)?;
    let output = affine::forward(&bare, &affine, residual, node.activation)?;
    let record = Record {
        input: input.clone(),
        weights,
        bare,
        affine,
        own_statistics,
        residual: residual.cloned(),
    };
    Ok((output, record))
}

/// Computes the gradients of the inputs from the gradient of the output; those of the trainable
/// parameters are stored in `gradients`.
pub(super) fn backward(
    node: &ConvNode,
    parameters: &ConvParameters,
    record: &Record,
    gradient: &Tensor,
    wants_input: bool,
    gradients: &mut Gradients,
) -> Result<Back> {
    let Record {
        input,
        weights,
        bare,
        affine,
        own_statistics,
        residual,
    } = record;
    let (shift, scale) = match &parameters.affine {
        AffineParameters::BatchNorm(norm) => (Some(&norm.beta), Some(&norm.gamma)),
        AffineParameters::Bias(bias) | AffineParameters::Scaled { bias, .. } => (Some(bias), None),
        AffineParameters::LayerScale { bias, scale } => (Some(bias), Some(scale)),
        AffineParameters::None => (None, None),
    };
    let learns = |parameter: &&Parameter| parameter.role == Role::Trainable;
    let (shift, scale) = (shift.filter(learns), scale.filter(learns));
    let ways = (*own_statistics, shift.is_some() || scale.is_some());
    let residual = residual.as_ref();
    let found = affine::backward(bare, affine, residual, node.activation, gradient, ways)?;
    for (parameter, of) in [(shift, found.of_shift), (scale, found.of_gamma)] {
        if let (Some(parameter), Some(of)) = (parameter, of) {
            gradients.set(parameter, of.reshape(parameter.var.shape())?);
        }
    }
    if learns(&&parameters.weight) {
        let of_weights = convolve::weight_gradient(input, &found.of_x, &geometry(node))?;
        let in_order = match node.kernel {
            1 => of_weights,
            _ => of_weights.permute((0, 3, 1, 2))?.contiguous()?,
        };
        let shape = parameters.weight.var.shape();
        gradients.set(&parameters.weight, in_order.reshape(shape)?);
    }
    let of_input = match wants_input {
        true => {
            let (_, height, width, _) = input.dims4()?;
            let size = (height, width);
            let shape = geometry(node);
            Some(convolve::input_gradient(
                &found.of_x,
                weights,
                &shape,
                size,
            )?)
        }
        false => None,
    };
    Ok(Back {
        of_input,
        of_residual: found.of_value,
    })
}
