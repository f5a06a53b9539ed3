//! The mean over the pixels of feature maps.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::{flat, kernels, values};
use crate::error::Result;
use crate::ops::{Isa, pool};

/// Averages feature maps `[batch, rows, columns, features]` -> `[batch, features]`, as part of the
/// autograd graph.
///
/// # Errors
/// If the input has another number of dimensions.
pub fn global_average(maps: &Tensor) -> Result<Tensor> {
    Ok(match kernels(&[maps]) {
        true => maps.contiguous()?.apply_op1(GlobalAverage)?,
        false => maps.mean((1, 2))?,
    })
}

/// The mean and its gradient, computed by the kernels.
struct GlobalAverage;

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global-average"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, rows, columns, channels) = layout.shape().dims4()?;
        let maps = values(storage, layout)?;
        let mut mean = vec![0.0; batch * channels];
        pool::global_average(Isa::best(), maps, rows * columns, channels, &mut mean);
        Ok((CpuStorage::F32(mean), Shape::from((batch, channels))))
    }

    fn bwd(
        &self,
        maps: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let (_, rows, columns, channels) = maps.dims4()?;
        let mut spread = vec![0.0; maps.elem_count()];
        pool::global_average_gradient(
            Isa::best(),
            &flat(gradient)?,
            rows * columns,
            channels,
            false,
            None,
            &mut spread,
        );
        Ok(Some(Tensor::from_vec(spread, maps.shape(), maps.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn the_mean_and_its_gradient_are_those_of_candle() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|v| (v as f32).sin()).collect();
        let maps = Tensor::from_vec(values, (2, 3, 4, 5), &Device::Cpu).unwrap();
        let maps = Var::from_tensor(&maps).unwrap();
        let run = |mean: Tensor| {
            let loss = mean.sqr().unwrap().sum_all().unwrap();
            let gradient = loss.backward().unwrap();
            (
                flat(&mean).unwrap(),
                flat(gradient.get(&maps).unwrap()).unwrap(),
            )
        };
        let (found, gradient) = run(global_average(&maps).unwrap());
        let (expected, expected_gradient) = run(maps.mean((1, 2)).unwrap());
        for (found, expected) in [(found, expected), (gradient, expected_gradient)] {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}
