//! A linear layer.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{Lazy, flat, kernels, values};
use crate::error::Result;
use crate::ops::{Isa, linear as kernel};

/// Computes `x w^T + b` for `x` `[..., inputs]`, `weight` `[outputs, inputs]` and an optional
/// `bias` `[outputs]`. Differentiable in all three. Unlike a composition of primitive operations,
/// it skips the gradient of `x` if nothing below `x` is trainable, and it computes the gradient of
/// the weights in their memory order.
///
/// # Errors
/// If the shapes do not match.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let inputs = shape.pop().unwrap_or(1);
    let outputs = weight.dim(0)?;
    shape.push(outputs);
    let x = x.reshape(((), inputs))?;
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(outputs, x.dtype(), x.device())?,
    };
    let y = match kernels(&[&x, weight, &bias]) {
        true => (x.contiguous()?).apply_op3(&weight.contiguous()?, &bias, Linear)?,
        false => x.matmul(&weight.t()?)?.broadcast_add(&bias)?,
    };
    Ok(y.reshape(shape)?)
}

/// The layer, computed by the kernels.
struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, of_weight) = weight_layout.shape().dims2()?;
        let addends = bias_layout.shape().elem_count();
        if (of_weight, addends) != (inputs, outputs) {
            candle_core::bail!(
                "weights [{outputs}, {of_weight}] and a bias of {addends} for {inputs} inputs"
            );
        }
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        let y = kernel::forward(Isa::best(), x, weight, values(bias, bias_layout)?, rows);
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.detach();
        let of_x = match x.track_op() {
            true => {
                let outputs = weight.dim(0)?;
                let (values, weight) = (flat(&gradient)?, flat(weight)?);
                let of_x = kernel::input_gradient(Isa::best(), &values, &weight, outputs);
                Some(Tensor::from_vec(of_x, x.shape(), x.device())?)
            }
            false => None,
        };
        let of_bias = gradient.sum(0)?;
        let of_weight = Lazy::product(&gradient, x)?.tensor()?;
        Ok((of_x, Some(of_weight), Some(of_bias)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{var, wide};
    use super::*;
    use candle_core::{DType, Var};

    /// Returns output and gradients: with the operation in single precision, with candle's own
    /// operations in double precision.
    fn run(dtype: DType, learns: bool) -> Vec<Option<Vec<f64>>> {
        let var =
            |from: usize, shape: &[usize]| var(dtype, shape, |v| ((v * 3 + from) as f64).sin());
        let (x, weight, bias) = (var(0, &[5, 7]), var(50, &[3, 7]), var(90, &[3]));
        let given = match learns {
            true => x.as_tensor().clone(),
            false => x.as_detached_tensor(),
        };
        let output = linear(&given, &weight, Some(&bias)).unwrap();
        let probe = var(200, &[5, 3]);
        let loss = (&output * probe.as_tensor()).unwrap().sum_all().unwrap();
        let found = loss.backward().unwrap();
        let of = |var: &Var| found.get(var).map(wide);
        vec![Some(wide(&output)), of(&x), of(&weight), of(&bias)]
    }

    #[test]
    fn the_layer_and_its_gradients_are_those_of_primitive_operations() {
        for learns in [true, false] {
            let (found, expected) = (run(DType::F32, learns), run(DType::F64, learns));
            for (found, expected) in found.iter().zip(&expected) {
                let (Some(found), Some(expected)) = (found, expected) else {
                    assert_eq!((found, expected, learns), (&None, &None, false));
                    continue;
                };
                assert!(expected.iter().any(|v| v.abs() > 0.1));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
    }
}
