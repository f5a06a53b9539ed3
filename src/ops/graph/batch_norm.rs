//! Batch norm of feature vectors.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{flat, kernels, values};
use crate::error::Result;

/// The result of [`batch_norm`].
#[derive(Debug)]
pub struct Normalised {
    /// `[rows, width]`.
    pub output: Tensor,
    /// Mean of the rows, `[width]`, detached from the graph.
    pub mean: Tensor,
    /// Biased variance of the rows (the sum of squares divided by the number of rows), `[width]`,
    /// detached from the graph.
    pub variance: Tensor,
}

/// Computes `(x - mean) / sqrt(variance + epsilon) * gamma + beta` with mean and variance over the
/// rows of `x` `[rows, width]`; `gamma` and `beta` are `[width]`. Differentiable in all three.
///
/// # Errors
/// If the shapes do not match.
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Normalised> {
    if !kernels(&[x, gamma, beta]) {
        let mean = x.mean(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean(0)?;
        let scale = ((&variance + epsilon)?.sqrt()?.recip()? * gamma)?;
        return Ok(Normalised {
            output: centred.broadcast_mul(&scale)?.broadcast_add(beta)?,
            mean: mean.detach(),
            variance: variance.detach(),
        });
    }
    let x = x.contiguous()?;
    let (rows, width) = x.dims2()?;
    let input = flat(&x)?;
    let part = 1.0 / rows.max(1) as f32;
    let mut mean = vec![0.0f32; width];
    for row in input.chunks_exact(width.max(1)) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    mean.iter_mut().for_each(|sum| *sum *= part);
    let mut variance = vec![0.0f32; width];
    for row in input.chunks_exact(width.max(1)) {
        let values = variance.iter_mut().zip(row).zip(&mean);
        values.for_each(|((sum, x), mean)| *sum += (x - mean) * (x - mean));
    }
    variance.iter_mut().for_each(|sum| *sum *= part);
    let inverse = (variance.iter())
        .map(|variance| 1.0 / (variance + epsilon as f32).sqrt())
        .collect();
    let device = x.device();
    let (mean_tensor, variance) = (
        Tensor::from_slice(&mean, width, device)?,
        Tensor::from_vec(variance, width, device)?,
    );
    let op = BatchNorm { mean, inverse };
    Ok(Normalised {
        output: x.apply_op3(gamma, beta, op)?,
        mean: mean_tensor,
        variance,
    })
}

/// Batch norm with the statistics of its batch.
struct BatchNorm {
    mean: Vec<f32>,
    /// 1 / sqrt(variance + epsilon).
    inverse: Vec<f32>,
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
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
        let (x, width) = (values(x, x_layout)?, self.mean.len());
        let (gamma, beta) = (values(gamma, gamma_layout)?, values(beta, beta_layout)?);
        if (gamma.len(), beta.len()) != (width, width) {
            let (gamma, beta) = (gamma.len(), beta.len());
            candle_core::bail!("a norm of {gamma} factors and {beta} addends for {width}");
        }
        let mut output = Vec::with_capacity(x.len());
        for row in x.chunks_exact(width.max(1)) {
            let statistics = self.mean.iter().zip(&self.inverse);
            let values = row.iter().zip(statistics).zip(gamma.iter().zip(beta));
            output.extend(values.map(|((x, (mean, inverse)), (gamma, beta))| {
                (x - mean) * (inverse * gamma) + beta
            }));
        }
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
        let (input, factors, out) = (flat(x)?, flat(gamma)?, flat(gradient)?);
        let width = factors.len();
        let rows = input.len() / width.max(1);
        // Sums over the rows of g and of g (x - mean) / sqrt(variance + epsilon).
        let (mut of_beta, mut of_gamma) = (vec![0.0f32; width], vec![0.0f32; width]);
        for (row, out) in input
            .chunks_exact(width.max(1))
            .zip(out.chunks_exact(width.max(1)))
        {
            let sums = of_beta.iter_mut().zip(&mut of_gamma);
            let statistics = self.mean.iter().zip(&self.inverse);
            for (((x, g), (mean, inverse)), (beta, gamma)) in
                row.iter().zip(out).zip(statistics).zip(sums)
            {
                *beta += g;
                *gamma += g * ((x - mean) * inverse);
            }
        }
        let part = 1.0 / rows.max(1) as f32;
        let mut back = Vec::with_capacity(input.len());
        for (row, out) in input
            .chunks_exact(width.max(1))
            .zip(out.chunks_exact(width.max(1)))
        {
            let statistics = self.mean.iter().zip(&self.inverse).zip(&factors);
            let sums = of_beta.iter().zip(&of_gamma);
            let values = row.iter().zip(out).zip(statistics).zip(sums);
            back.extend(
                values.map(|(((x, g), ((mean, inverse), factor)), (beta, gamma))| {
                    let normed = (x - mean) * inverse;
                    factor * inverse * (g - part * beta - normed * (part * gamma))
                }),
            );
        }
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(back, x.shape(), device)?),
            Some(Tensor::from_vec(of_gamma, gamma.shape(), device)?),
            Some(Tensor::from_vec(of_beta, beta.shape(), device)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{var, wide};
    use super::*;
    use candle_core::DType;

    /// Returns output, statistics and the three gradients: with the operation's kernels in single
    /// precision, with candle's own operations in double precision.
    fn run(dtype: DType) -> Vec<Vec<f64>> {
        let var =
            |from: usize, shape: &[usize]| var(dtype, shape, |v| ((v * v + from) as f64).sin());
        let (x, gamma, beta) = (var(0, &[9, 5]), var(50, &[5]), var(90, &[5]));
        let made = batch_norm(&x, &gamma, &beta, 1e-5).unwrap();
        let probe = var(200, &[9, 5]);
        let loss = (&made.output * probe.as_tensor())
            .unwrap()
            .sum_all()
            .unwrap();
        let found = loss.backward().unwrap();
        let all = [
            Some(&made.output),
            Some(&made.mean),
            Some(&made.variance),
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
