//! Layer norm over the last dimension.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};

use super::{flat, kernels, values};
use crate::error::Result;
use crate::ops::Isa;
use crate::ops::layer_norm::{forward, input_gradient, parameter_gradients};

/// Computes `(x - mean) / sqrt(variance + epsilon) * gamma + beta` over the last dimension of `x`
/// `[..., channels]`; `gamma` and `beta` are `[channels]`. Differentiable in all three.
///
/// # Errors
/// If the shapes do not match.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    if kernels(&[x, gamma, beta]) {
        let norm = LayerNorm {
            epsilon: epsilon as f32,
        };
        let (gamma, beta) = (gamma.contiguous()?, beta.contiguous()?);
        return Ok(x.contiguous()?.apply_op3(&gamma, &beta, norm)?);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    Ok(normed.broadcast_mul(gamma)?.broadcast_add(beta)?)
}

/// Layer norm and its gradients, computed by the kernels.
struct LayerNorm {
    epsilon: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let (gamma, beta) = (values(gamma, gamma_layout)?, values(beta, beta_layout)?);
        let channels = x_layout.dims().last().copied().unwrap_or(1);
        if (gamma.len(), beta.len()) != (channels, channels) {
            let (gamma, beta) = (gamma.len(), beta.len());
            candle_core::bail!("a norm of {gamma} factors and {beta} addends for {channels}");
        }
        let mut output = vec![0.0; x.len()];
        let isa = Isa::best();
        forward(isa, channels, self.epsilon, x, gamma, beta, &mut output);
        Ok((CpuStorage::F32(output), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (input, factors, gradient) = (flat(x)?, flat(gamma)?, flat(gradient)?);
        let (isa, channels) = (Isa::best(), factors.len());
        let sums = parameter_gradients(isa, channels, self.epsilon, &input, &gradient);
        let mut back = vec![0.0; input.len()];
        input_gradient(
            isa,
            channels,
            self.epsilon,
            &input,
            &factors,
            &gradient,
            false,
            None,
            &mut back,
        );
        let device = x.device();
        let (of_gamma, of_beta) = sums.split_at(channels);
        Ok((
            Some(Tensor::from_vec(back, x.shape(), device)?),
            Some(Tensor::from_slice(of_gamma, gamma.shape(), device)?),
            Some(Tensor::from_slice(of_beta, beta.shape(), device)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{var, wide};
    use super::*;
    use candle_core::DType;

    /// Returns output and the three gradients: in single precision by the kernels, in double by
    /// candle.
    fn run(dtype: DType) -> Vec<Vec<f64>> {
        let var = |from: usize, shape: &[usize]| var(dtype, shape, |v| ((v + from) as f64).sin());
        let (x, gamma, beta) = (var(0, &[3, 5, 7]), var(50, &[7]), var(90, &[7]));
        let output = layer_norm(&x, &gamma, &beta, 1e-6).unwrap();
        let probe = var(200, &[3, 5, 7]);
        let loss = (&output * probe.as_tensor()).unwrap().sum_all().unwrap();
        let found = loss.backward().unwrap();
        let all = [
            Some(&output),
            found.get(&x),
            found.get(&gamma),
            found.get(&beta),
        ];
        all.map(|tensor| wide(tensor.unwrap())).to_vec()
    }

    #[test]
    fn the_norm_and_its_gradients_are_those_of_primitive_operations() {
        for (found, expected) in run(DType::F32).iter().zip(&run(DType::F64)) {
            assert_eq!(found.len(), expected.len());
            assert!(expected.iter().any(|v| v.abs() > 0.1));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }
}
