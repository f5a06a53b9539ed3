//! Stochastic gradient descent with momentum and weight decay, in PyTorch's convention.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{KeyPath, Result};
use crate::range::Range;

/// Settings of [`Sgd`]. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Full learning rate, 0.02.
    pub learning_rate: f64,
    /// Momentum, 0.9; in [0, 1).
    pub momentum: f64,
    /// Weight decay on every parameter, 1e-4, added to the gradient.
    pub weight_decay: f64,
    /// Bound of the gradients' global L2 norm, 35; 0 for none.
    pub max_gradient_norm: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig {
            learning_rate: 0.02,
            momentum: 0.9,
            weight_decay: 1e-4,
            max_gradient_norm: 35.0,
        }
    }
}

impl SgdConfig {
    /// Checks the ranges; `at` is the table's own key.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::Positive.check(&at.join("learning_rate"), self.learning_rate)?;
        Range::Below(0.0, 1.0).check(&at.join("momentum"), self.momentum)?;
        Range::NotNegative.check(&at.join("weight_decay"), self.weight_decay)?;
        Range::NotNegative.check(&at.join("max_gradient_norm"), self.max_gradient_norm)
    }
}

/// The optimiser with its momentum buffers, one a parameter.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    velocity: BTreeMap<String, Var>,
}

impl Sgd {
    /// An optimiser without history.
    pub fn new(config: SgdConfig) -> Self {
        Sgd {
            config,
            velocity: BTreeMap::new(),
        }
    }

    /// One step for one parameter: with g = `factor` * gradient + weight_decay * p, the velocity
    /// becomes momentum * v + g (g at the first step), and p falls by `learning_rate` * v.
    ///
    /// `factor` is the clipping factor of [`super::clip::clip_factor`].
    pub fn update(
        &mut self,
        name: &str,
        parameter: &Var,
        gradient: &Tensor,
        learning_rate: f64,
        factor: f64,
    ) -> Result<()> {
        if !self.velocity.contains_key(name) {
            // PyTorch starts the buffer with the first gradient: the same as starting from zero.
            let zero = Var::from_tensor(&parameter.as_tensor().zeros_like()?)?;
            self.velocity.insert(name.to_owned(), zero);
        }
        let velocity = &self.velocity[name];
        let gradient = gradient.contiguous()?;
        if parameter.device().is_cpu() {
            let accumulate = Accumulate {
                momentum: self.config.momentum as f32,
                weight_decay: self.config.weight_decay as f32,
                factor: factor as f32,
            };
            velocity.inplace_op3(&gradient, parameter, &accumulate)?;
            let descend = Descend {
                learning_rate: learning_rate as f32,
            };
            parameter.inplace_op2(velocity, &descend)?;
        } else {
            let decay = (parameter.as_tensor() * self.config.weight_decay)?;
            let total = ((gradient * factor)? + decay)?;
            velocity.set(&((velocity.as_tensor() * self.config.momentum)? + total)?)?;
            let fall = (velocity.as_tensor() * learning_rate)?;
            parameter.set(&(parameter.as_tensor() - fall)?)?;
        }
        Ok(())
    }

    /// The momentum buffers by parameter name, for a checkpoint.
    pub fn state(&self) -> &BTreeMap<String, Var> {
        &self.velocity
    }

    /// Restores a momentum buffer from a checkpoint.
    pub fn restore(&mut self, name: &str, velocity: &Tensor) -> Result<()> {
        self.velocity
            .insert(name.to_owned(), Var::from_tensor(velocity)?);
        Ok(())
    }
}

/// v = momentum * v + factor * g + weight_decay * p
struct Accumulate {
    momentum: f32,
    weight_decay: f32,
    factor: f32,
}

impl InplaceOp3 for Accumulate {
    fn name(&self) -> &'static str {
        "sgd-accumulate"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        parameter: &CpuStorage,
        parameter_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = slice(gradient, gradient_layout)?;
        let parameter = slice(parameter, parameter_layout)?;
        let velocity = slice_mut(velocity, layout)?;
        (velocity.par_chunks_mut(CHUNK))
            .zip(gradient.par_chunks(CHUNK))
            .zip(parameter.par_chunks(CHUNK))
            .for_each(|((v, g), p)| {
                for ((v, g), p) in v.iter_mut().zip(g).zip(p) {
                    *v = self.momentum * *v + self.factor * g + self.weight_decay * p;
                }
            });
        Ok(())
    }
}

/// p = p - learning_rate * v
struct Descend {
    learning_rate: f32,
}

impl InplaceOp2 for Descend {
    fn name(&self) -> &'static str {
        "sgd-descend"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        velocity: &CpuStorage,
        velocity_layout: &Layout,
    ) -> candle_core::Result<()> {
        let velocity = slice(velocity, velocity_layout)?;
        let parameter = slice_mut(parameter, layout)?;
        (parameter.par_chunks_mut(CHUNK))
            .zip(velocity.par_chunks(CHUNK))
            .for_each(|(p, v)| {
                for (p, v) in p.iter_mut().zip(v) {
                    *p -= self.learning_rate * v;
                }
            });
        Ok(())
    }
}

/// Scalars one task updates.
const CHUNK: usize = 1 << 14;

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let (start, end) = contiguous(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("the optimiser expects f32 parameters"),
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("the optimiser expects contiguous parameters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Two steps by hand: v1 = g + wd p, p1 = p - lr v1; v2 = m v1 + g + wd p1.
    #[test]
    fn two_steps_follow_the_recurrence() {
        let parameter = Var::new(&[1.0f32, -2.0], &Device::Cpu).unwrap();
        let gradient = Tensor::new(&[0.5f32, 4.0], &Device::Cpu).unwrap();
        let mut sgd = Sgd::new(SgdConfig {
            momentum: 0.9,
            weight_decay: 0.1,
            ..SgdConfig::default()
        });
        let (lr, factor) = (0.2f64, 0.5f64);
        let mut expected = [(1.0f64, 0.0f64), (-2.0, 0.0)];
        for _ in 0..2 {
            sgd.update("p", &parameter, &gradient, lr, factor).unwrap();
            for ((p, v), g) in expected.iter_mut().zip([0.5, 4.0]) {
                *v = 0.9 * *v + factor * g + 0.1 * *p;
                *p -= lr * *v;
            }
        }
        let values = parameter.to_vec1::<f32>().unwrap();
        for (value, (p, _)) in values.iter().zip(expected) {
            assert!((f64::from(*value) - p).abs() < 1e-6, "{value} {p}");
        }
    }
}
