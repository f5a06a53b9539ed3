//! A moving average of a network's parameters, kept besides the parameters themselves (Polyak and
//! Juditsky 1992).

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};
use crate::model::{Parameters, Role};
use crate::ops::graph::{self, Lazy};

/// The exponential moving average of every value that training changes: of the trainable
/// parameters, and of the running statistics of norms.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    /// Indexed by parameter; `None` for values that do not change.
    values: Vec<Option<Var>>,
    /// The number of updates so far.
    count: u64,
}

impl Average {
    /// Creates an average that starts from the current values of `parameters`. `decay` is the
    /// fraction of the average that an update keeps, in (0, 1).
    pub fn new(decay: f64, parameters: &Parameters) -> Result<Self> {
        let value = |entry: &crate::model::Parameter| -> Result<Option<Var>> {
            let changes = entry.role != Role::Frozen && entry.var.dtype().is_float();
            let copy = || Ok(Var::from_tensor(&entry.var.as_tensor().copy()?)?);
            changes.then(copy).transpose()
        };
        Ok(Average {
            decay,
            values: parameters.iter().map(value).collect::<Result<_>>()?,
            count: 0,
        })
    }

    /// Returns the fraction of the average kept by update number `count`, counted from 1:
    /// min(decay, (1 + count) / (10 + count)), so that the first values do not dominate the average
    /// for long.
    pub fn kept(decay: f64, count: u64) -> f64 {
        let count = count as f64;
        decay.min((1.0 + count) / (10.0 + count))
    }

    /// Updates the average with the current values of `parameters`.
    pub fn update(&mut self, parameters: &Parameters) -> Result<()> {
        self.count += 1;
        let new = 1.0 - Self::kept(self.decay, self.count);
        let pairs: Vec<(&Var, &Tensor)> = (self.values.iter().zip(parameters.iter()))
            .filter_map(|(value, entry)| Some((value.as_ref()?, entry.var.as_tensor())))
            .collect();
        let update = |(average, value): &(&Var, &Tensor)| -> Result<()> {
            let pass = |averages: &mut [&mut [f32]], values: &[f32]| {
                let new = new as f32;
                for (average, value) in averages[0].iter_mut().zip(values) {
                    *average += new * (value - *average);
                }
            };
            graph::change(&[*average], &Lazy::from((*value).clone()), &pass, || {
                let step = ((*value - average.as_tensor())? * new)?;
                Ok(vec![(average.as_tensor() + step)?])
            })
        };
        match pairs.first() {
            Some((first, _)) => graph::for_each(&pairs, first.device(), update),
            None => Ok(()),
        }
    }

    /// Swaps the average with the values of `parameters`, so that the network can be evaluated with
    /// the average; a second call restores the values, bit by bit.
    pub fn exchange(&mut self, parameters: &Parameters) -> Result<()> {
        for (value, entry) in self.values.iter().zip(parameters.iter()) {
            if let Some(average) = value {
                let plain = entry.var.as_tensor().copy()?;
                entry.set(average.as_tensor())?;
                average.set(&plain)?;
            }
        }
        Ok(())
    }

    /// Returns the averages by parameter name, for a checkpoint.
    pub fn state<'a>(
        &'a self,
        parameters: &'a Parameters,
    ) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        (self.values.iter().zip(parameters.iter()))
            .filter_map(|(value, entry)| Some((entry.name.as_str(), value.as_ref()?.as_tensor())))
    }

    /// Restores the state after `count` updates, as returned by [`state`](Self::state); `find`
    /// returns a tensor by name.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn restore<'t>(
        &mut self,
        count: u64,
        parameters: &Parameters,
        find: impl Fn(&str) -> Option<&'t Tensor>,
    ) -> Result<()> {
        self.count = count;
        for (value, entry) in self.values.iter().zip(parameters.iter()) {
            let Some(average) = value else { continue };
            match find(&entry.name) {
                Some(tensor) if tensor.shape() == average.shape() => {
                    average.set(&tensor.to_device(average.device())?.contiguous()?)?;
                }
                _ => {
                    let problem = "has no average of its shape";
                    return Err(Error::input(entry.name.clone(), problem));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_decay_warms_up_and_exchanging_twice_changes_nothing() {
        let mut parameters = Parameters::new();
        for (name, role) in [
            ("head.w", Role::Trainable),
            ("neck.bn.running_mean", Role::Buffer),
            ("backbone.w", Role::Frozen),
        ] {
            let var = Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
            parameters.insert(name, var, role, 0).unwrap();
        }
        let mut average = Average::new(0.25, &parameters).unwrap();
        let values = |parameters: &Parameters| -> Vec<Vec<f32>> {
            parameters
                .iter()
                .map(|entry| entry.var.to_vec1().unwrap())
                .collect()
        };
        let mut expected = 0.0;
        for (step, kept) in [2.0 / 11.0, 0.25, 0.25, 0.25].into_iter().enumerate() {
            let value = (step + 1) as f64;
            for entry in parameters.iter().filter(|entry| entry.role != Role::Frozen) {
                let new = Tensor::new(&[value as f32, value as f32], &Device::Cpu).unwrap();
                entry.set(&new).unwrap();
            }
            average.update(&parameters).unwrap();
            expected = kept * expected + (1.0 - kept) * value;
        }
        let plain = values(&parameters);
        average.exchange(&parameters).unwrap();
        for found in values(&parameters)[..2].iter().flatten() {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{found} {expected}"
            );
        }
        assert_eq!(values(&parameters)[2], [0.0, 0.0]);
        average.exchange(&parameters).unwrap();
        assert_eq!(values(&parameters), plain);
    }
}
