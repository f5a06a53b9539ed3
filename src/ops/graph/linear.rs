//! A linear layer.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{flat, kernels};
use crate::error::Result;

/// `x w^T + b` for `x` `[rows, inputs]`, `weight` `[outputs, inputs]` and `bias` `[outputs]`. Part
/// of the graph for all three. Unlike a composition of primitive operations it computes no gradient
/// of an `x` that nothing learns below, and that of the weights lies in their order.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !kernels(&[x, weight, bias]) {
        return Ok(x.matmul(&weight.t()?)?.broadcast_add(bias)?);
    }
    let product = x.detach().matmul(&weight.detach().t()?)?;
    let (rows, outputs) = product.dims2()?;
    let mut values = flat(&product)?;
    let addends = flat(bias)?;
    if addends.len() != outputs {
        let problem = format!("a bias of {} for {outputs} outputs", addends.len());
        return Err(candle_core::Error::msg(problem).into());
    }
    for row in values.chunks_exact_mut(outputs.max(1)) {
        row.iter_mut().zip(&addends).for_each(|(y, b)| *y += b);
    }
    let op = Linear {
        output: CpuStorage::F32(values),
        shape: Shape::from((rows, outputs)),
    };
    Ok(x.apply_op3(weight, bias, op)?)
}

/// A layer whose output has been computed.
struct Linear {
    output: CpuStorage,
    shape: Shape,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((self.output.clone(), self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, gradient) = (x, gradient.detach());
        let of_x = match x.track_op() {
            true => Some(gradient.matmul(&weight.detach())?),
            false => None,
        };
        let of_weight = gradient.t()?.matmul(&x.detach())?;
        Ok((of_x, Some(of_weight), Some(gradient.sum(0)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// Output and gradients in a precision: single by the operation, double by candle's own.
    fn run(dtype: DType, learns: bool) -> Vec<Option<Vec<f64>>> {
        let var = |from: usize, shape: &[usize]| {
            let count: usize = shape.iter().product();
            let values: Vec<f64> = (0..count).map(|v| ((v * 3 + from) as f64).sin()).collect();
            let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
        };
        let (x, weight, bias) = (var(0, &[5, 7]), var(50, &[3, 7]), var(90, &[3]));
        let given = match learns {
            true => x.as_tensor().clone(),
            false => x.as_detached_tensor(),
        };
        let output = linear(&given, &weight, &bias).unwrap();
        let probe = var(200, &[5, 3]);
        let loss = (&output * probe.as_tensor()).unwrap().sum_all().unwrap();
        let found = loss.backward().unwrap();
        let wide = |tensor: &Tensor| {
            let tensor = tensor.to_dtype(DType::F64).unwrap();
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
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
