//! Conversion of a gradient from the kernels' order to PyTorch's.

use rayon::prelude::*;

use super::super::isa::{Arithmetic, Isa, Op};
use super::super::shape::ConvShape;
use super::super::tile::PANEL;
use super::Layout;

/// A gradient in PyTorch's order.
pub struct WeightGradientParts {
    /// `[out, in, kernel, kernel]`.
    pub weight: Vec<f32>,
    /// For each filter, the sum of its gradient times its weight, before the scale is applied:
    /// needed for the gradient of the scale of a folded batch norm. Zeros without a scale.
    pub dot: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// Reorders a gradient (see [`Layout`]; `data` may be longer). The weights' gradient is multiplied
/// by `scale` (one value per output channel); `weight` holds the weights before scaling.
///
/// # Panics
/// If a length does not fit the shape.
pub fn unpack(
    isa: Isa,
    shape: &ConvShape,
    data: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    let depth = shape.depth();
    assert_eq!(weight.len(), shape.weight_len());
    let layout = Layout::new(shape);
    let data = &data[..layout.len()];
    let bias = (0..shape.out_channels).map(|out| data[layout.at(out / PANEL, depth) + out % PANEL]);
    let mut parts = WeightGradientParts {
        weight: vec![0.0; shape.weight_len()],
        dot: vec![0.0; shape.out_channels],
        bias: bias.collect(),
    };
    if depth == 0 {
        return parts;
    }
    parts
        .weight
        .par_chunks_mut(depth * UNPACK)
        .zip(parts.dot.par_chunks_mut(UNPACK))
        .zip(weight.par_chunks(depth * UNPACK))
        .enumerate()
        .for_each(|(index, ((filters, dots), weight))| {
            isa.run(Unpack {
                shape: *shape,
                rows: &data[layout.at(index * UNPACK / PANEL, 0) + index * UNPACK % PANEL..],
                filters,
                dots,
                weight,
                scale: scale.map(|scale| &scale[index * UNPACK..]),
            });
        });
    parts
}

/// Number of filters that are unpacked together: a part of a panel.
const UNPACK: usize = PANEL / 2;

struct Unpack<'a> {
    shape: ConvShape,
    /// Starts at the first value of the first filter; there are `PANEL` values from one row to the
    /// next.
    rows: &'a [f32],
    filters: &'a mut [f32],
    dots: &'a mut [f32],
    weight: &'a [f32],
    scale: Option<&'a [f32]>,
}

impl Op for Unpack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let shape = &self.shape;
        let (channels, area) = (shape.in_channels, shape.kernel * shape.kernel);
        let depth = shape.depth();
        for channel in 0..channels {
            for tap in 0..area {
                let row = &self.rows[(tap * channels + channel) * PANEL..];
                let places = self.filters[channel * area + tap..]
                    .iter_mut()
                    .step_by(depth);
                for (place, &value) in places.zip(row) {
                    *place = value;
                }
            }
        }
        let Some(scale) = self.scale else {
            return;
        };
        let filters = self.filters.chunks_exact_mut(depth).zip(scale);
        let rows = self.weight.chunks_exact(depth).zip(self.dots);
        for ((filter, &scale), (weight, dot)) in filters.zip(rows) {
            let mut sums = [0.0f64; 16];
            for (filter, weight) in filter.chunks_mut(16).zip(weight.chunks(16)) {
                for ((sum, gradient), &w) in sums.iter_mut().zip(filter).zip(weight) {
                    *sum += f64::from(*gradient) * f64::from(w);
                    *gradient *= scale;
                }
            }
            *dot = sums.iter().sum::<f64>() as f32;
        }
    }
}
