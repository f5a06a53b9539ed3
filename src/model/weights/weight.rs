//! A tensor as the network wants it: one of a file, or made of several.

use candle_core::{Device, Tensor};

use super::stored::Stored;

/// How a tensor is made of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// One below the other, along the first dimension.
    Stacked,
    /// Their sum.
    Added,
}

/// A tensor that is read when it is wanted.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    pub shape: Vec<usize>,
    /// One at least.
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
    /// The parts one below the other, in order; `None` unless they are alike.
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

    /// The same values in another shape of as many.
    pub(super) fn reshaped(self, shape: Vec<usize>) -> Self {
        Weight { shape, ..self }
    }

    /// A matrix with rows and columns exchanged; anything else as it is.
    pub(super) fn transposed(mut self) -> Self {
        if let ([part], [rows, columns]) = (&mut self.parts[..], &mut self.shape[..]) {
            *part = part.transposed();
            std::mem::swap(rows, columns);
        }
        self
    }

    /// Takes the first row of `[1, rows, width]` off; gives it back as `[1, 1, width]`.
    pub(super) fn take_first_row(&mut self) -> Option<Self> {
        let (&[1, rows, width], [part]) = (&self.shape[..], &self.parts[..]) else {
            return None;
        };
        let (first, rest) = part.split(rows, width)?;
        *self = Weight::from(rest).reshaped(vec![1, rows - 1, width]);
        Some(Weight::from(first).reshaped(vec![1, 1, width]))
    }

    /// The sum of two of one shape.
    pub(super) fn plus(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self.join = Join::Added;
        self
    }

    /// The values: see [`Stored::tensor`].
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
