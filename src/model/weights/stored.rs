//! A tensor stored in a file, which is read on demand, with the shape, type and strides given
//! there.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use half::{bf16, f16};

use super::Place;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    /// A type that no parameter has: integers, booleans, quantised numbers.
    Other(&'static str),
}

impl Element {
    /// Returns the bytes per element; 0 where that does not matter.
    pub(super) fn size(self) -> u64 {
        match self {
            Element::F64 => 8,
            Element::F32 => 4,
            Element::F16 | Element::BF16 => 2,
            Element::Other(_) => 0,
        }
    }
}

/// A range of bytes in a file or in embedded weights.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub place: Arc<Place>,
    pub offset: u64,
    pub length: u64,
}

impl Span {
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let inside = (offset.checked_add(length)).is_some_and(|end| end <= self.length);
        if !inside {
            return Err("reaches beyond its part of the file".into());
        }
        let failed = |e: std::io::Error| format!("cannot be read: {e}");
        let (mut file, _) = self.place.open().map_err(failed)?;
        (file.seek(SeekFrom::Start(self.offset + offset))).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err("is cut off: the file is shorter than it says".into())
        }
    }
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub shape: Vec<usize>,
    pub element: Element,
    /// The distance in elements from one index to the next, per dimension; `None` if the tensor is
    /// contiguous.
    pub strides: Option<Vec<usize>>,
    /// The number of elements before the first.
    pub first: u64,
    pub span: Span,
}

impl Stored {
    /// Returns a matrix with rows and columns swapped; anything else is returned as it is.
    pub(super) fn transposed(&self) -> Self {
        let mut other = self.clone();
        let mut strides = other.strides.unwrap_or_else(|| dense(&self.shape));
        if self.shape.len() == 2 {
            other.shape.swap(0, 1);
            strides.swap(0, 1);
        }
        other.strides = Some(strides);
        other
    }

    /// Splits a contiguous tensor of `rows` rows of `width` values into its first row and the
    /// others; returns `None` if the tensor is not contiguous or has another number of values.
    pub(super) fn split(&self, rows: usize, width: usize) -> Option<(Self, Self)> {
        let follow = self
            .strides
            .as_ref()
            .is_none_or(|s| *s == dense(&self.shape));
        let count = rows.checked_mul(width)?;
        if !follow || rows == 0 || self.shape.iter().product::<usize>() != count {
            return None;
        }
        let part = |first: usize, rows: usize| Stored {
            shape: vec![rows, width],
            strides: None,
            first: self.first + (first * width) as u64,
            ..self.clone()
        };
        Some((part(0, 1), part(1, rows - 1)))
    }

    /// Reads the values as `F32`, or as `F64` if the file has that type. The caller ensures that
    /// the shape fits into memory. The error message follows the name of the tensor.
    pub(super) fn tensor(&self, device: &Device) -> Result<Tensor, String> {
        let count = (self.shape.iter())
            .try_fold(1usize, |product, &side| product.checked_mul(side))
            .ok_or("has more elements than can be counted")?;
        let strides = self.strides.clone().unwrap_or_else(|| dense(&self.shape));
        // The last element that is accessed.
        let last = (self.shape.iter().zip(&strides))
            .try_fold(0usize, |sum, (&side, &stride)| {
                sum.checked_add(side.saturating_sub(1).checked_mul(stride)?)
            })
            .ok_or("has strides beyond its part of the file")?;
        let size = self.element.size();
        if let Element::Other(name) = self.element {
            return Err(format!(
                "is stored as {name}; weights are read as floating-point numbers of 16, 32 or 64 bits"
            ));
        }
        let elements = if count == 0 { 0 } else { last as u64 + 1 };
        let (Some(offset), Some(length)) =
            (self.first.checked_mul(size), elements.checked_mul(size))
        else {
            return Err("reaches beyond its part of the file".into());
        };
        let bytes = self.span.read(offset, length)?;
        let order = if strides == dense(&self.shape) {
            None
        } else {
            Some(order(&self.shape, &strides, count))
        };
        macro_rules! take {
            ($size:literal, $decode:expr) => {{
                let (elements, _) = bytes.as_chunks::<$size>();
                match order {
                    None => elements.iter().map(|bytes| $decode(*bytes)).collect(),
                    Some(order) => order.into_iter().map(|i| $decode(elements[i])).collect(),
                }
            }};
        }
        let shape = self.shape.as_slice();
        let tensor = if self.element == Element::F64 {
            let values: Vec<f64> = take!(8, f64::from_le_bytes);
            Tensor::from_vec(values, shape, device)
        } else {
            let values: Vec<f32> = match self.element {
                Element::F16 => take!(2, |b| f16::from_le_bytes(b).to_f32()),
                Element::BF16 => take!(2, |b| bf16::from_le_bytes(b).to_f32()),
                _ => take!(4, f32::from_le_bytes),
            };
            Tensor::from_vec(values, shape, device)
        };
        tensor.map_err(|e| format!("cannot be read: {e}"))
    }
}

/// Returns the strides of a contiguous tensor. The stride of a dimension of length 1 is arbitrary.
fn dense(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}

/// Returns the offsets of the elements, in the order of the indices.
fn order(shape: &[usize], strides: &[usize], count: usize) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..count {
        order.push(at);
        for i in (0..shape.len()).rev() {
            index[i] += 1;
            at += strides[i];
            if index[i] < shape[i] {
                break;
            }
            at -= strides[i] * shape[i];
            index[i] = 0;
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_followed() {
        // Two channels of 2 x 3, channels last: element (c, y, x) is at 2 (3 y + x) + c.
        let places = order(&[2, 2, 3], &[1, 6, 2], 12);
        assert_eq!(places, [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
        assert_eq!(dense(&[4, 2, 3]), [6, 3, 1]);
        assert_eq!(order(&[2, 3], &[0, 1], 6), [0, 1, 2, 0, 1, 2]);
    }
}
