//! A tensor in the form the network needs: a tensor of a file, or composed of several.

use candle_core::{Device, Tensor};

use super::stored::Stored;

/// How a tensor is composed of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// Concatenated along the first dimension.
    Stacked,
    /// Their sum.
    Added,
}

/// A tensor that is read on demand.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    pub shape: Vec<usize>,
    /// At least one part.
    parts: Vec<Stored>,
    join: Join,
}

impl From<Stored> for Weight {
    fn from(stored: Stored) -> Self {
        Weight {
            shape: stored.shape.clone(),
            parts: vec![stored],
            join: Join::Stacked,
        }
    }
}

impl Weight {
    /// Concatenates the parts along the first dimension, in order; returns `None` unless all have
    /// the same shape.
    pub(super) fn stacked(parts: Vec<Stored>) -> Option<Self> {
        let mut shape = parts.first()?.shape.clone();
        let alike = parts.iter().all(|part| part.shape == shape);
        *shape.first_mut().filter(|_| alike)? *= parts.len();
        Some(Weight {
            shape,
            parts,
            join: Join::Stacked,
        })
    }

    /// Returns the same values in another shape with as many elements.
    pub(super) fn reshaped(self, shape: Vec<usize>) -> Self {
        Weight { shape, ..self }
    }

    /// Returns a matrix with rows and columns swapped; anything else is returned as it is.
    pub(super) fn transposed(mut self) -> Self {
        if let ([part], [rows, columns]) = (&mut self.parts[..], &mut self.shape[..]) {
            *part = part.transposed();
            std::mem::swap(rows, columns);
        }
        self
    }

    /// Removes the first row of `[1, rows, width]` and returns it as `[1, 1, width]`.
    pub(super) fn take_first_row(&mut self) -> Option<Self> {
        let (&[1, rows, width], [part]) = (&self.shape[..], &self.parts[..]) else {
            return None;
        };
        let (first, rest) = part.split(rows, width)?;
        *self = Weight::from(rest).reshaped(vec![1, rows - 1, width]);
        Some(Weight::from(first).reshaped(vec![1, 1, width]))
    }

    /// Returns the sum of two tensors of the same shape.
    pub(super) fn plus(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self.join = Join::Added;
        self
    }

    /// Reads the values; see [`Stored::tensor`].
    pub(super) fn tensor(&self, device: &Device) -> Result<Tensor, String> {
        let parts: Result<Vec<Tensor>, String> = (self.parts.iter())
            .map(|part| part.tensor(device))
            .collect();
        let parts = parts?;
        let failed = |e: candle_core::Error| format!("cannot be read: {e}");
        let mut whole = match (self.join, &parts[..]) {
            (_, [single]) => single.clone(),
            (Join::Stacked, parts) => Tensor::cat(parts, 0).map_err(failed)?,
            (Join::Added, [first, rest @ ..]) => {
                let mut sum = first.reshape(&self.shape[..]).map_err(failed)?;
                for part in rest {
                    let part = part.reshape(&self.shape[..]).map_err(failed)?;
                    sum = (sum + part).map_err(failed)?;
                }
                sum
            }
            (Join::Added, []) => return Err("has no parts".into()),
        };
        whole = whole.reshape(&self.shape[..]).map_err(failed)?;
        Ok(whole)
    }
}
