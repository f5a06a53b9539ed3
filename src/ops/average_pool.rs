//! Average pooling over non-overlapping windows, and its gradient. Pixels at the right and bottom
//! that do not fill a window are ignored, as in PyTorch.

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Geometry of average pooling with windows of `side` x `side` pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePoolShape {
    /// Number of channels of input and output.
    pub channels: usize,
    /// Rows and columns of a window, and distance between windows.
    pub side: usize,
}

impl AveragePoolShape {
    /// Returns the number of output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        size / self.side
    }
}

/// Writes the means over the windows of `input` `[batch, height, width, channels]` to `output`.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn forward(
    isa: Isa,
    shape: &AveragePoolShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    output: &mut [f32],
) {
    let AveragePoolShape { channels, side } = *shape;
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let (line, from) = (columns * channels, width * channels);
    assert_eq!(input.len(), batch * height * from);
    assert_eq!(output.len(), batch * rows * line);
    if output.is_empty() {
        return;
    }
    output
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(index, output)| {
            let first = (index / rows * height + index % rows * side) * from;
            isa.run(Mean {
                shape: *shape,
                input: &input[first..first + side * from],
                pitch: from,
                output,
            });
        });
}

/// Computes the gradient of the input. With `add`, it is added to the contents of `out`; `mask`
/// turns it into the gradient before the activation that produced the input, see
/// [`Activation::mask`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn gradient(
    isa: Isa,
    shape: &AveragePoolShape,
    (batch, height, width): (usize, usize, usize),
    output_gradient: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    let AveragePoolShape { channels, side } = *shape;
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let (line, from) = (columns * channels, width * channels);
    assert_eq!(out.len(), batch * height * from);
    assert_eq!(output_gradient.len(), batch * rows * line);
    assert!(mask.is_none_or(|(points, _)| points.len() == out.len()));
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(from)
        .enumerate()
        .for_each(|(index, out)| {
            let (n, row) = (index / height, index % height / side);
            let gradient = match row < rows {
                true => &output_gradient[(n * rows + row) * line..][..line],
                false => &[],
            };
            isa.run(Spread {
                shape: *shape,
                gradient,
                add,
                mask: mask.map(|(points, a)| (&points[index * from..][..from], a)),
                out,
            });
        });
}

struct Mean<'a> {
    shape: AveragePoolShape,
    /// The picture rows covered by a row of windows.
    input: &'a [f32],
    pitch: usize,
    output: &'a mut [f32],
}

impl Op for Mean<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let AveragePoolShape { channels, side } = self.shape;
        let share = 1.0 / (side * side) as f32;
        for (x, out) in self.output.chunks_exact_mut(channels).enumerate() {
            out.fill(0.0);
            for tap in 0..side * side {
                let at = tap / side * self.pitch + (x * side + tap % side) * channels;
                for (o, v) in out.iter_mut().zip(&self.input[at..at + channels]) {
                    *o += v;
                }
            }
            for o in out {
                *o *= share;
            }
        }
    }
}

struct Spread<'a> {
    shape: AveragePoolShape,
    /// A row of the output's gradient; empty where there are no windows.
    gradient: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for Spread<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let AveragePoolShape { channels, side } = self.shape;
        let share = 1.0 / (side * side) as f32;
        if !self.add {
            self.out.fill(0.0);
        }
        let windows = self.gradient.chunks_exact(channels);
        for (gradient, window) in windows.zip(self.out.chunks_mut(side * channels)) {
            for pixel in window.chunks_exact_mut(channels) {
                for (o, g) in pixel.iter_mut().zip(gradient) {
                    *o = A::mul_add(*g, share, *o);
                }
            }
        }
        if let Some((points, activation)) = self.mask {
            activation.mask_with::<A::Vector>(self.out, points);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::{assert_within, random};

    #[test]
    fn means_and_their_gradient_match_their_definition() {
        let shape = AveragePoolShape {
            channels: 5,
            side: 2,
        };
        let dims = (2, 5, 6);
        let input = random("input", 2 * 5 * 6 * 5);
        let gradient = random("gradient", 2 * 2 * 3 * 5);
        let (mut means, mut back) = (vec![0.0; gradient.len()], vec![0.0; input.len()]);
        for (i, value) in input.iter().enumerate() {
            let (c, x, y, n) = (i % 5, i / 5 % 6, i / 30 % 5, i / 150);
            if y < 4 {
                let place = ((n * 2 + y / 2) * 3 + x / 2) * 5 + c;
                means[place] += f64::from(*value) / 4.0;
                back[i] = f64::from(gradient[place]) / 4.0;
            }
        }
        let slope = |v: f32| f64::from(u8::from(v > 0.0));
        for isa in Isa::available() {
            let mut found = vec![f32::NAN; means.len()];
            forward(isa, &shape, dims, &input, &mut found);
            assert_within("means", &found, &means, 1, 1e-6);
            let mut found = vec![f32::NAN; back.len()];
            super::gradient(isa, &shape, dims, &gradient, false, None, &mut found);
            assert_within("gradient", &found, &back, 1, 1e-6);
            let mask = Some((input.as_slice(), Activation::Relu));
            let mut found = input.clone();
            super::gradient(isa, &shape, dims, &gradient, true, mask, &mut found);
            let expected: Vec<f64> = (input.iter().zip(&back))
                .map(|(&v, b)| (f64::from(v) + b) * slope(v))
                .collect();
            assert_within("added", &found, &expected, 1, 1e-6);
        }
    }
}
