//! Convolutions by their definition, in plain loops and double precision, as a reference for tests
//! of the kernels.

use super::weight_gradient::WeightGradientParts;
use super::{Activation, ConvShape, Padding};
use crate::rng::Stream;

/// Largest accepted deviation, relative to the largest value of the tensor.
pub(super) const TOLERANCE: f64 = 1e-5;

/// Every activation.
pub(super) const ACTIVATIONS: [Activation; 9] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::Silu,
    Activation::HardSwish,
    Activation::Gelu,
    Activation::QuickGelu,
    Activation::Sigmoid,
    Activation::HardSigmoid,
];

/// Returns random numbers between -1 and 1.
pub(super) fn random(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(1, name, len as u64, 0);
    (0..len).map(|_| stream.range(-1.0, 1.0) as f32).collect()
}

/// Asserts that the values match. Every value is a sum of `terms` products of numbers between -1
/// and 1. Where such sums happen to be near 0, errors are compared with their typical size instead.
pub(super) fn assert_within(
    what: &str,
    found: &[f32],
    expected: &[f64],
    terms: usize,
    tolerance: f64,
) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let typical = (terms as f64).sqrt() / 3.0;
    let largest = expected
        .iter()
        .fold(typical.max(1e-3), |m, v| m.max(v.abs()));
    for (index, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(f) - e).abs() / largest;
        assert!(error < tolerance, "{what}[{index}]: {f} for {e}");
    }
}

/// Returns all index triples in row-major order.
pub(super) fn grid(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
}

/// Returns the number of outputs along a side and of zeros before it.
pub(super) fn side(shape: &ConvShape, size: usize) -> (usize, usize) {
    match shape.padding {
        Padding::Symmetric(padding) => {
            let windows = (0..size + 2 * padding).step_by(shape.stride);
            let inside = windows.filter(|start| start + shape.kernel <= size + 2 * padding);
            (inside.count(), padding)
        }
        Padding::Same => {
            let outputs = (0..size).step_by(shape.stride).count();
            let last = (outputs as isize - 1) * shape.stride as isize + shape.kernel as isize;
            (outputs, (last - size as isize).max(0) as usize / 2)
        }
    }
}

/// A convolution of pictures of one size, with random data.
pub(super) struct Reference {
    pub shape: ConvShape,
    pub groups: usize,
    /// Batch, height, width.
    pub dims: (usize, usize, usize),
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    /// One value per output channel.
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
    /// Added to the output.
    pub residual: Vec<f32>,
    /// Gradient of the output.
    pub gradient: Vec<f32>,
    /// Added to the gradient of the input.
    pub other: Vec<f32>,
}

/// The expected results of the kernels.
pub(super) struct Expected {
    /// Output with weights times scale, plus bias and residual, after the activation.
    pub output: Vec<f64>,
    /// Gradient of the input plus `other`, times the derivative of the activation at `input`.
    pub input_gradient: Vec<f64>,
    /// Gradient of the weights, times the scale.
    pub weight_gradient: Vec<f64>,
    pub bias_gradient: Vec<f64>,
    /// For each output channel: unscaled weight gradient times weight.
    pub dot: Vec<f64>,
}

impl Expected {
    /// Asserts that the parts of a weight gradient match these values, which are sums over the
    /// `pixels` of the output; a filter has `depth` weights.
    pub(super) fn assert_parts(
        &self,
        what: &str,
        parts: &WeightGradientParts,
        (pixels, depth): (usize, usize),
        tolerance: f64,
    ) {
        for (name, found, expected, terms) in [
            (
                "weight gradient",
                &parts.weight,
                &self.weight_gradient,
                pixels,
            ),
            ("bias gradient", &parts.bias, &self.bias_gradient, pixels),
            ("dot", &parts.dot, &self.dot, pixels * depth),
        ] {
            let what = format!("{what} {name}");
            assert_within(&what, found, expected, terms, tolerance);
        }
    }
}

impl Reference {
    pub(super) fn new(shape: ConvShape, groups: usize, dims: (usize, usize, usize)) -> Self {
        let (batch, height, width) = dims;
        let pixels = batch * side(&shape, height).0 * side(&shape, width).0;
        let filter = shape.in_channels / groups * shape.kernel * shape.kernel;
        let input = batch * height * width * shape.in_channels;
        Reference {
            shape,
            groups,
            dims,
            input: random("input", input),
            weight: random("weight", shape.out_channels * filter),
            scale: (0..shape.out_channels)
                .map(|c| 1.0 + c as f32 / 64.0)
                .collect(),
            bias: random("bias", shape.out_channels),
            residual: random("residual", pixels * shape.out_channels),
            gradient: random("gradient", pixels * shape.out_channels),
            other: random("other", input),
        }
    }

    /// Returns the number of pixels of the output.
    pub(super) fn pixels(&self) -> usize {
        self.gradient.len() / self.shape.out_channels
    }

    /// Calls `visit(input, weight, output)` with the indices of every product.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvShape {
            in_channels,
            out_channels,
            kernel,
            stride,
            ..
        } = self.shape;
        let (batch, height, width) = self.dims;
        let ((rows, top), (columns, left)) = (side(&self.shape, height), side(&self.shape, width));
        let inputs = in_channels / self.groups;
        let outputs = out_channels / self.groups;
        for (n, y, x) in grid(batch, rows, columns) {
            for (_, ky, kx) in grid(1, kernel, kernel) {
                let (iy, ix) = (y * stride + ky, x * stride + kx);
                if iy < top || ix < left || iy >= height + top || ix >= width + left {
                    continue;
                }
                let pixel = (n * height + iy - top) * width + ix - left;
                let output = ((n * rows + y) * columns + x) * out_channels;
                for out in 0..out_channels {
                    for place in 0..inputs {
                        let channel = out / outputs * inputs + place;
                        let weight = ((out * inputs + place) * kernel + ky) * kernel + kx;
                        visit(pixel * in_channels + channel, weight, output + out);
                    }
                }
            }
        }
    }

    pub(super) fn expected(&self, activation: Activation) -> Expected {
        let channels = self.shape.out_channels;
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| v.into()).collect() };
        let mut output = wide(&self.residual);
        let mut bias_gradient = vec![0.0; channels];
        for (index, value) in output.iter_mut().enumerate() {
            *value += f64::from(self.bias[index % channels]);
            bias_gradient[index % channels] += f64::from(self.gradient[index]);
        }
        let mut input_gradient = wide(&self.other);
        let mut weight_gradient = vec![0.0; self.weight.len()];
        let mut dot = vec![0.0; channels];
        self.products(|i, w, o| {
            let scale = f64::from(self.scale[o % channels]);
            let weight = f64::from(self.weight[w]);
            let (input, gradient) = (f64::from(self.input[i]), f64::from(self.gradient[o]));
            output[o] += input * weight * scale;
            input_gradient[i] += gradient * weight * scale;
            weight_gradient[w] += gradient * input * scale;
            dot[o % channels] += gradient * input * weight;
        });
        // Activations have tests of their own.
        let mut single: Vec<f32> = output.iter().map(|&v| v as f32).collect();
        activation.apply(&mut single);
        let mut slope = vec![1.0; self.input.len()];
        activation.mask(&mut slope, &self.input);
        for (gradient, slope) in input_gradient.iter_mut().zip(slope) {
            *gradient *= f64::from(slope);
        }
        Expected {
            output: wide(&single),
            input_gradient,
            weight_gradient,
            bias_gradient,
            dot,
        }
    }
}
