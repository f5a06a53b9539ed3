//! Kernels against plain loops in double precision.

use proptest::prelude::*;

use super::*;
use crate::ops::Arena;
use crate::ops::batch_norm::{self, GradientSums, Moments, Normalisation, Statistics};
use crate::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use crate::ops::pool::{self, MaxPoolShape};
use crate::ops::weight_gradient::{unpack, weight_gradient};
use crate::rng::Stream;

/// Largest deviation accepted, relative to the largest value of the tensor.
const TOLERANCE: f64 = 1e-5;
/// The same for Winograd convolutions.
const WINOGRAD_TOLERANCE: f64 = 3e-5;

fn random(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(1, name, len as u64, 0);
    (0..len).map(|_| stream.range(-1.0, 1.0) as f32).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_within(what, found, expected, 0, TOLERANCE);
}

/// Every value is a sum of `terms` products of numbers between -1 and 1. Where a few such sums
/// happen to be near 0, errors are held against what they typically are.
fn assert_within(what: &str, found: &[f32], expected: &[f64], terms: usize, tolerance: f64) {
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

/// A convolution by definition; `groups` is 1 or the number of channels.
struct Reference {
    shape: ConvShape,
    depthwise: bool,
    dims: (usize, usize, usize),
}

impl Reference {
    /// Calls `visit(input, weight, output)` with the indices of every product.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvShape {
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
        } = self.shape;
        let (batch, height, width) = self.dims;
        let (rows, columns) = (
            self.shape.output_size(height),
            self.shape.output_size(width),
        );
        for (n, y, x) in grid(batch, rows, columns) {
            for (ky, kx) in (0..kernel).flat_map(|a| (0..kernel).map(move |b| (a, b))) {
                let (iy, ix) = (y * stride + ky, x * stride + kx);
                if iy < padding || ix < padding || iy >= height + padding || ix >= width + padding {
                    continue;
                }
                let pixel = (n * height + iy - padding) * width + ix - padding;
                let output = ((n * rows + y) * columns + x) * out_channels;
                for out in 0..out_channels {
                    let inputs = if self.depthwise {
                        out..out + 1
                    } else {
                        0..in_channels
                    };
                    for (place, channel) in inputs.clone().enumerate() {
                        let filter = out * inputs.len() + place;
                        let weight = (filter * kernel + ky) * kernel + kx;
                        visit(pixel * in_channels + channel, weight, output + out);
                    }
                }
            }
        }
    }
}

fn grid(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / (b * c), i / c % b, i % c))
}

fn check_dense(shape: ConvShape, dims: (usize, usize, usize)) {
    check_dense_by(shape, Algorithm::Direct, dims, TOLERANCE);
}

#[expect(
    clippy::too_many_lines,
    reason = "every kernel of a convolution on the same data"
)]
fn check_dense_by(
    shape: ConvShape,
    algorithm: Algorithm,
    dims: (usize, usize, usize),
    tolerance: f64,
) {
    let assert_close = |what: &str, found: &[f32], expected: &[f64], terms: usize| {
        assert_within(what, found, expected, terms, tolerance);
    };
    let (batch, height, width) = dims;
    let pixels = batch * shape.output_size(height) * shape.output_size(width);
    let input = random("input", batch * height * width * shape.in_channels);
    let weight = random("weight", shape.weight_len());
    let gradient = random("gradient", pixels * shape.out_channels);
    let residual = random("residual", gradient.len());
    let scale: Vec<f32> = (0..shape.out_channels)
        .map(|c| 1.0 + c as f32 / 64.0)
        .collect();
    let bias = random("bias", shape.out_channels);

    let mut output: Vec<f64> = (0..gradient.len())
        .map(|i| f64::from(bias[i % shape.out_channels]) + f64::from(residual[i]))
        .collect();
    let other = random("other", input.len());
    let mut input_expected: Vec<f64> = other.iter().map(|&v| v.into()).collect();
    let mut weight_expected = vec![0.0f64; weight.len()];
    let reference = Reference {
        shape,
        depthwise: false,
        dims,
    };
    reference.products(|i, w, o| {
        let folded = f64::from(weight[w]) * f64::from(scale[o % shape.out_channels]);
        output[o] += f64::from(input[i]) * folded;
        input_expected[i] += f64::from(gradient[o]) * folded;
        let scale = f64::from(scale[o % shape.out_channels]);
        weight_expected[w] += f64::from(gradient[o]) * f64::from(input[i]) * scale;
    });
    output.iter_mut().for_each(|v| *v = v.max(0.0));
    for (value, &input) in input_expected.iter_mut().zip(&input) {
        *value = if input > 0.0 { *value } else { 0.0 };
    }
    let bias_expected: Vec<f64> = (0..shape.out_channels)
        .map(|c| {
            gradient
                .iter()
                .skip(c)
                .step_by(shape.out_channels)
                .map(|&g| f64::from(g))
                .sum()
        })
        .collect();

    let arena = Arena::new();
    for isa in Isa::available() {
        let name = isa.name();
        let packed = ForwardWeights::pack(
            (isa, &arena),
            &shape,
            algorithm,
            &weight,
            Some(&scale),
            Some(bias.clone()),
        );
        let mut found = vec![f32::NAN; gradient.len()];
        let relu = Activation::Relu;
        forward(
            isa,
            &shape,
            dims,
            &input,
            &packed,
            Some(&residual),
            relu,
            &mut found,
        );
        let terms = shape.depth();
        assert_close(&format!("{name} output"), &found, &output, terms);

        let packed = BackwardWeights::pack((isa, &arena), &shape, algorithm, &weight, Some(&scale));
        let mut found = other.clone();
        let mask = Some((input.as_slice(), relu));
        input_gradient(
            isa, &shape, dims, &gradient, &packed, true, mask, &mut found,
        );
        let terms = shape.kernel * shape.kernel * shape.out_channels;
        let what = format!("{name} input gradient");
        assert_close(&what, &found, &input_expected, terms);

        let sums = weight_gradient(isa, &shape, algorithm, dims, &input, &gradient, &arena);
        let parts = unpack(isa, &shape, &sums, &weight, Some(&scale));
        assert_close(
            &format!("{name} weight gradient"),
            &parts.weight,
            &weight_expected,
            pixels,
        );
        assert_close(
            &format!("{name} bias gradient"),
            &parts.bias,
            &bias_expected,
            pixels,
        );
    }
}

fn check_depthwise(shape: DepthwiseShape, dims: (usize, usize, usize)) {
    let (batch, height, width) = dims;
    let channels = shape.channels;
    let pixels = batch * shape.output_size(height) * shape.output_size(width);
    let input = random("input", batch * height * width * channels);
    let weight = random("weight", channels * 9);
    let gradient = random("gradient", pixels * channels);
    let mut output = vec![0.0f64; gradient.len()];
    let mut input_expected = vec![0.0f64; input.len()];
    let mut weight_expected = vec![0.0f64; weight.len()];
    let dense = ConvShape {
        in_channels: channels,
        out_channels: channels,
        kernel: 3,
        stride: shape.stride,
        padding: shape.padding,
    };
    let reference = Reference {
        shape: dense,
        depthwise: true,
        dims,
    };
    reference.products(|i, w, o| {
        output[o] += f64::from(input[i]) * f64::from(weight[w]);
        input_expected[i] += f64::from(gradient[o]) * f64::from(weight[w]);
        weight_expected[w] += f64::from(gradient[o]) * f64::from(input[i]);
    });
    for isa in Isa::available() {
        let name = isa.name();
        let none = Activation::None;
        let packed = DepthwiseWeights::pack(&shape, &weight, None, None);
        let mut found = vec![f32::NAN; gradient.len()];
        depthwise::forward(isa, &shape, dims, &input, &packed, None, none, &mut found);
        assert_within(&format!("{name} output"), &found, &output, 9, TOLERANCE);
        let mut found = vec![f32::NAN; input.len()];
        depthwise::input_gradient(
            isa, &shape, dims, &gradient, &packed, false, None, &mut found,
        );
        let what = format!("{name} input gradient");
        assert_within(&what, &found, &input_expected, 9, TOLERANCE);
        let sums = depthwise::weight_gradient(isa, &shape, dims, &input, &gradient, &Arena::new());
        let parts = depthwise::unpack(&shape, &sums, &weight, None);
        let what = format!("{name} weight gradient");
        assert_within(&what, &parts.weight, &weight_expected, pixels, TOLERANCE);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn dense_convolution_matches_its_definition(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12,
        in_channels in 1usize..40, out_channels in 1usize..70,
        kernel in 1usize..6, stride in 1usize..4, padding in 0usize..4,
    ) {
        let shape = ConvShape { in_channels, out_channels, kernel, stride, padding };
        check_dense(shape, (batch, height, width));
    }

    #[test]
    fn winograd_convolution_matches_its_definition(
        batch in 0usize..3, height in 1usize..15, width in 1usize..15,
        in_channels in 1usize..70, out_channels in 1usize..70, padding in 0usize..3,
    ) {
        let shape = ConvShape { in_channels, out_channels, kernel: 3, stride: 1, padding };
        check_dense_by(shape, Algorithm::Winograd, (batch, height, width), WINOGRAD_TOLERANCE);
    }

    #[test]
    fn depthwise_convolution_matches_its_definition(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12,
        channels in 1usize..50, stride in 1usize..4, padding in 0usize..3,
    ) {
        check_depthwise(DepthwiseShape { channels, stride, padding }, (batch, height, width));
    }

    #[test]
    fn max_pooling_matches_its_definition(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12,
        channels in 1usize..20, stride in 1usize..3,
    ) {
        let shape = MaxPoolShape { channels, kernel: 3, stride, padding: 1 };
        let (rows, columns) = (shape.output_size(height), shape.output_size(width));
        // Few values, so that there are ties.
        let input: Vec<f32> = random("input", batch * height * width * channels)
            .iter().map(|v| (v * 3.0).round()).collect();
        let gradient = random("gradient", batch * rows * columns * channels);
        let mut output = Vec::new();
        let mut expected = vec![0.0f64; input.len()];
        for (n, y, x) in grid(batch, rows, columns) {
            for c in 0..channels {
                let mut best: Option<usize> = None;
                for tap in 0..9 {
                    let (iy, ix) = (y * stride + tap / 3, x * stride + tap % 3);
                    if iy < 1 || ix < 1 || iy > height || ix > width {
                        continue;
                    }
                    let at = ((n * height + iy - 1) * width + ix - 1) * channels + c;
                    if best.is_none_or(|b| input[at] > input[b]) {
                        best = Some(at);
                    }
                }
                let best = best.expect("a window meets the picture");
                expected[best] += f64::from(gradient[output.len()]);
                output.push(f64::from(input[best]));
            }
        }
        for isa in Isa::available() {
            let dims = (batch, height, width);
            let mut found = vec![f32::NAN; output.len()];
            let mut winners = vec![0; output.len()];
            pool::max_pool(isa, &shape, dims, &input, &mut found, Some(&mut winners));
            assert_close("output", &found, &output);
            let mut found = vec![f32::NAN; input.len()];
            pool::max_pool_gradient(isa, &shape, dims, &gradient, &winners, None, &mut found);
            assert_close("gradient", &found, &expected);
        }
    }
}

#[test]
fn depths_and_groups_beyond_one_block() {
    // Several depth blocks, several groups of panels, several pixel chunks.
    let shape = |in_channels, out_channels, kernel, stride| ConvShape {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding: kernel / 2,
    };
    check_dense(shape(130, 48, 3, 1), (2, 9, 7));
    check_dense(shape(24, 600, 1, 1), (1, 5, 5));
    check_dense(shape(3, 64, 7, 2), (2, 40, 37));
    let deep = shape(520, 600, 3, 1);
    check_dense_by(deep, Algorithm::Winograd, (3, 9, 7), WINOGRAD_TOLERANCE);
    let many = shape(70, 40, 3, 1);
    check_dense_by(many, Algorithm::Winograd, (20, 23, 25), WINOGRAD_TOLERANCE);
}

/// The kernels once more, under a program that watches every access to memory.
#[test]
#[ignore = "takes minutes, and valgrind (Debian's package of that name)"]
fn kernels_stay_inside_their_memory() {
    let tests = "ops::conv::tests::depths_and_groups_beyond_one_block";
    let run = std::process::Command::new("valgrind")
        // Unrolled kernels are long: valgrind translates them in pieces.
        .args(["--error-exitcode=9", "--quiet", "--vex-guest-max-insns=16"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", tests, "ops::conv::tests::odd_shapes"])
        .output();
    match run {
        Ok(run) => {
            let errors = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "{errors}");
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(said.contains("2 passed"), "{said}");
        }
        Err(error) => panic!("valgrind does not start: {error}"),
    }
}

#[test]
fn odd_shapes() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (7, 2, 3)] {
        for (channels, size) in [((3, 17), (9, 5)), ((33, 70), (1, 1)), ((50, 40), (13, 6))] {
            let shape = ConvShape {
                in_channels: channels.0,
                out_channels: channels.1,
                kernel,
                stride,
                padding,
            };
            let dims = (2, size.0, size.1);
            check_dense(shape, dims);
            if (kernel, stride) == (3, 1) {
                check_dense_by(shape, Algorithm::Winograd, dims, WINOGRAD_TOLERANCE);
            }
            let channels = channels.1;
            if kernel == 3 {
                let shape = DepthwiseShape {
                    channels,
                    stride,
                    padding,
                };
                check_depthwise(shape, dims);
            }
        }
    }
}

#[test]
fn empty_batches_do_nothing() {
    let shape = ConvShape {
        in_channels: 3,
        out_channels: 5,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    check_dense(shape, (0, 4, 4));
}

#[test]
fn batch_norm_matches_its_definition() {
    let (pixels, channels) = (700, 21);
    // A mean far from zero shows cancellation.
    let input: Vec<f32> = random("input", pixels * channels)
        .iter()
        .map(|v| v + 30.0)
        .collect();
    let gradient = random("gradient", input.len());
    let (gamma, beta) = (random("gamma", channels), random("beta", channels));
    let mut output = vec![0.0f64; input.len()];
    let mut expected = vec![0.0f64; input.len()];
    let mut gamma_expected = vec![0.0f64; channels];
    for c in 0..channels {
        let at = |p: usize| p * channels + c;
        let n = pixels as f64;
        let mean = (0..pixels).map(|p| f64::from(input[at(p)])).sum::<f64>() / n;
        let square = |p: usize| (f64::from(input[at(p)]) - mean).powi(2);
        let inverse = 1.0 / ((0..pixels).map(square).sum::<f64>() / n + 1e-5).sqrt();
        let x = |p: usize| (f64::from(input[at(p)]) - mean) * inverse;
        let g = |p: usize| f64::from(gradient[at(p)]);
        let sum: f64 = (0..pixels).map(g).sum();
        let moment: f64 = (0..pixels).map(|p| g(p) * x(p)).sum();
        gamma_expected[c] = moment;
        for p in 0..pixels {
            output[at(p)] = x(p) * f64::from(gamma[c]) + f64::from(beta[c]);
            let centred = g(p) - sum / n - x(p) * moment / n;
            expected[at(p)] = f64::from(gamma[c]) * inverse * centred;
        }
    }
    for isa in Isa::available() {
        // In two parts, as the engine does it.
        let cut = 300 * channels;
        let halves = |values: &[f32]| [values[..cut].to_vec(), values[cut..].to_vec()];
        let moments: Vec<Moments> = (halves(&input).iter())
            .flat_map(|part| batch_norm::moments(isa, part, channels))
            .collect();
        let statistics = Statistics::combine(channels, &moments);
        let norm = Normalisation::new(statistics, 1e-5, gamma.clone(), beta.clone());
        let mut found = vec![0.0; input.len()];
        norm.apply(isa, &input, None, Activation::None, &mut found);
        assert_close("output", &found, &output);
        let sums: Vec<GradientSums> = (halves(&input).iter().zip(&halves(&gradient)))
            .map(|(input, gradient)| norm.sums(isa, input, gradient))
            .collect();
        let parts = norm.gradient(&GradientSums::combine(channels, &sums));
        let mut found = vec![0.0; input.len()];
        parts.apply(isa, &input, &gradient, &mut found);
        assert_close("input gradient", &found, &expected);
        assert_close("gamma", &parts.gamma, &gamma_expected);
    }
}
