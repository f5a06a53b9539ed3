//! The affine transformation of a convolution's result, folded into its weights and bias, and the
//! gradients of the parameters behind it.

use candle_core::Tensor;

use super::super::layers::{AffineParameters, BatchNorm, ConvParameters};
use super::values::values;
use crate::error::Result;
use crate::model::parameters::{Gradients, Parameter};
use crate::ops::weight_gradient::WeightGradientParts;

/// Scale and bias: the convolution's weights are multiplied by `scale`, then `bias` is added.
pub(super) struct Folded<'a> {
    /// One factor per output channel; `None` for 1.
    pub scale: Option<Vec<f32>>,
    /// One addend per output channel.
    pub bias: Vec<f32>,
    origin: Origin<'a>,
}

/// The parameters from which scale and bias were computed.
enum Origin<'a> {
    /// s = gamma * inverse, bias = beta - mean * s.
    BatchNorm {
        norm: &'a BatchNorm,
        mean: Vec<f32>,
        inverse: Vec<f32>,
    },
    /// The bias itself.
    Bias(&'a Parameter),
    /// The scale itself, and the product of bias and scale.
    LayerScale {
        bias: (&'a Parameter, Vec<f32>),
        scale: &'a Parameter,
    },
    /// The bias, times a constant.
    Scaled(&'a Parameter, f32),
    Nothing,
}

impl<'a> Folded<'a> {
    /// Folds the transformation that follows the convolution; a batch norm is folded with its
    /// running statistics.
    pub(super) fn new(parameters: &'a ConvParameters) -> Result<Self> {
        match &parameters.affine {
            AffineParameters::BatchNorm(norm) => Self::of_norm(norm),
            AffineParameters::Bias(bias) => Ok(Folded {
                scale: None,
                bias: values(&bias.var)?,
                origin: Origin::Bias(bias),
            }),
            AffineParameters::Scaled { bias, factor } => {
                let (before, factor) = (values(&bias.var)?, *factor as f32);
                Ok(Folded {
                    scale: Some(vec![factor; before.len()]),
                    bias: before.iter().map(|bias| bias * factor).collect(),
                    origin: Origin::Scaled(bias, factor),
                })
            }
            AffineParameters::None => Ok(Folded {
                scale: None,
                bias: vec![0.0; parameters.weight.var.dim(0)?],
                origin: Origin::Nothing,
            }),
            AffineParameters::LayerScale { bias, scale } => {
                let (before, factor) = (values(&bias.var)?, values(&scale.var)?);
                Ok(Folded {
                    bias: before.iter().zip(&factor).map(|(b, s)| b * s).collect(),
                    scale: Some(factor),
                    origin: Origin::LayerScale {
                        bias: (bias, before),
                        scale,
                    },
                })
            }
        }
    }

    fn of_norm(norm: &'a BatchNorm) -> Result<Self> {
        let mean = values(&norm.mean.var)?;
        let variance = values(&norm.variance.var)?;
        let inverse: Vec<f32> = variance
            .iter()
            .map(|&v| (1.0 / (f64::from(v) + norm.epsilon).sqrt()) as f32)
            .collect();
        let gamma = values(&norm.gamma.var)?;
        let scale: Vec<f32> = inverse.iter().zip(&gamma).map(|(i, g)| i * g).collect();
        let bias = values(&norm.beta.var)?
            .iter()
            .zip(mean.iter().zip(&scale))
            .map(|(b, (m, s))| b - m * s)
            .collect();
        Ok(Folded {
            scale: Some(scale),
            bias,
            origin: Origin::BatchNorm {
                norm,
                mean,
                inverse,
            },
        })
    }

    /// Stores the gradients of the weights and of all folded parameters in `result`.
    pub(super) fn keep(
        &self,
        weight: &Parameter,
        parts: WeightGradientParts,
        result: &mut Gradients,
    ) -> Result<()> {
        let WeightGradientParts { dot, bias, .. } = &parts;
        match &self.origin {
            Origin::BatchNorm {
                norm,
                mean,
                inverse,
            } => {
                // The scale affects the loss through the weights and through -mean * s.
                let gamma = (0..dot.len())
                    .map(|c| (dot[c] - mean[c] * bias[c]) * inverse[c])
                    .collect();
                keep(&norm.gamma, gamma, result)?;
                keep(&norm.beta, bias.clone(), result)?;
            }
            Origin::Bias(parameter) => keep(parameter, bias.clone(), result)?,
            Origin::Scaled(parameter, factor) => {
                let of_bias = bias.iter().map(|gradient| gradient * factor).collect();
                keep(parameter, of_bias, result)?;
            }
            Origin::Nothing => {}
            Origin::LayerScale {
                bias: (parameter, before),
                scale,
            } => {
                let factor = self.scale.as_deref().unwrap_or_default();
                let of_bias = bias.iter().zip(factor).map(|(g, s)| g * s).collect();
                let of_scale = (0..dot.len())
                    .map(|c| dot[c] + before[c] * bias[c])
                    .collect();
                keep(parameter, of_bias, result)?;
                keep(scale, of_scale, result)?;
            }
        }
        keep(weight, parts.weight, result)
    }
}

/// Stores one gradient in `result`.
pub(super) fn keep(
    parameter: &Parameter,
    gradient: Vec<f32>,
    result: &mut Gradients,
) -> Result<()> {
    let var = &parameter.var;
    result.set(
        parameter,
        Tensor::from_vec(gradient, var.dims(), var.device())?,
    );
    Ok(())
}
