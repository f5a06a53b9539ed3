//! Tests the kernels against plain loops in double precision.

use proptest::prelude::*;

use super::*;
use crate::ops::batch_norm::{self, GradientSums, Moments, Normalisation, Statistics};
use crate::ops::pool::{self, MaxPoolShape};
use crate::ops::reference::{ACTIVATIONS, Reference, TOLERANCE, assert_within, grid, random};
use crate::ops::weight_gradient::{unpack, weight_gradient};
use crate::ops::{Arena, Padding};

/// Largest accepted deviation of Winograd convolutions.
const WINOGRAD_TOLERANCE: f64 = 3e-5;

fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_within(what, found, expected, 0, TOLERANCE);
}

fn check_dense(shape: ConvShape, dims: (usize, usize, usize)) {
    check_dense_by(shape, Algorithm::Direct, dims, Activation::Relu);
}

/// Checks all kernels of a convolution on the same data.
fn check_dense_by(
    shape: ConvShape,
    algorithm: Algorithm,
    dims: (usize, usize, usize),
    activation: Activation,
) {
    let tolerance = match algorithm {
        Algorithm::Direct => TOLERANCE,
        Algorithm::Winograd => WINOGRAD_TOLERANCE,
    };
    let numbers = Reference::new(shape, 1, dims);
    let expected = numbers.expected(activation);
    let (batch, height, width) = dims;
    let outputs = batch * shape.output_size(height) * shape.output_size(width);
    assert_eq!(outputs, numbers.pixels(), "{shape:?} {dims:?}");
    let Reference {
        input,
        weight,
        gradient,
        ..
    } = &numbers;
    let scale = Some(numbers.scale.as_slice());

    let arena = Arena::new();
    for isa in Isa::available() {
        let name = format!("{} {shape:?} {dims:?} {activation:?}", isa.name());
        let assert_close = |what: &str, found: &[f32], expected: &[f64], terms: usize| {
            let what = format!("{name} {what}");
            assert_within(&what, found, expected, terms, tolerance);
        };
        let bias = Some(numbers.bias.clone());
        let packed = ForwardWeights::pack((isa, &arena), &shape, algorithm, weight, scale, bias);
        let mut found = vec![f32::NAN; gradient.len()];
        let residual = Some(numbers.residual.as_slice());
        forward(
            isa, &shape, dims, input, &packed, residual, activation, &mut found,
        );
        assert_close("output", &found, &expected.output, shape.depth());

        let packed = BackwardWeights::pack((isa, &arena), &shape, algorithm, weight, scale);
        let mut found = numbers.other.clone();
        let mask = Some((input.as_slice(), activation));
        input_gradient(isa, &shape, dims, gradient, &packed, true, mask, &mut found);
        let terms = shape.kernel * shape.kernel * shape.out_channels;
        assert_close("input gradient", &found, &expected.input_gradient, terms);

        let sums = weight_gradient(isa, &shape, algorithm, dims, input, gradient, &arena);
        let parts = unpack(isa, &shape, &sums, weight, scale);
        expected.assert_parts(&name, &parts, (outputs, shape.depth()), tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn dense_convolution_matches_its_definition(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12,
        in_channels in 1usize..40, out_channels in 1usize..70,
        kernel in 1usize..6, stride in 1usize..4, padding in 0usize..5,
    ) {
        let padding = if padding < 4 { Padding::Symmetric(padding) } else { Padding::Same };
        let shape = ConvShape { in_channels, out_channels, kernel, stride, padding };
        check_dense(shape, (batch, height, width));
    }

    #[test]
    fn winograd_convolution_matches_its_definition(
        batch in 0usize..3, height in 1usize..15, width in 1usize..15,
        in_channels in 1usize..70, out_channels in 1usize..70, padding in 0usize..4,
        activation in 0usize..8,
    ) {
        let padding = if padding < 3 { Padding::Symmetric(padding) } else { Padding::Same };
        let shape = ConvShape { in_channels, out_channels, kernel: 3, stride: 1, padding };
        let dims = (batch, height, width);
        check_dense_by(shape, Algorithm::Winograd, dims, ACTIVATIONS[activation]);
    }

    #[test]
    fn max_pooling_matches_its_definition(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12,
        channels in 1usize..20, stride in 1usize..3,
    ) {
        let shape = MaxPoolShape { channels, kernel: 3, stride, padding: 1 };
        let (rows, columns) = (shape.output_size(height), shape.output_size(width));
        // Few distinct values, so that there are ties.
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
        padding: Padding::Symmetric(kernel / 2),
    };
    check_dense(shape(130, 48, 3, 1), (2, 9, 7));
    check_dense(shape(24, 600, 1, 1), (1, 5, 5));
    check_dense(shape(3, 64, 7, 2), (2, 40, 37));
    let deep = shape(520, 600, 3, 1);
    check_dense_by(deep, Algorithm::Winograd, (3, 9, 7), Activation::Relu);
    let many = shape(70, 40, 3, 1);
    check_dense_by(many, Algorithm::Winograd, (20, 23, 25), Activation::Silu);
}

/// Runs the kernels again under valgrind, which checks every memory access.
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
                padding: Padding::Symmetric(padding),
            };
            let dims = (2, size.0, size.1);
            check_dense(shape, dims);
            if (kernel, stride) == (3, 1) {
                check_dense_by(shape, Algorithm::Winograd, dims, Activation::Relu);
            }
        }
    }
}

#[test]
fn small_pictures_under_every_padding() {
    for (size, kernel, stride) in (1..10)
        .flat_map(|size| [2, 3, 4, 5, 7].map(|kernel| (size, kernel)))
        .flat_map(|(size, kernel)| [1, 2].map(|stride| (size, kernel, stride)))
    {
        for padding in [Padding::Same, Padding::Symmetric(kernel / 2)] {
            // Pictures with few channels are copied with their padding, others are not.
            for (in_channels, out_channels) in [(3, 5), (17, 33)] {
                let shape = ConvShape {
                    in_channels,
                    out_channels,
                    kernel,
                    stride,
                    padding,
                };
                check_dense(shape, (1, size, 10 - size));
            }
        }
    }
}

#[test]
fn the_same_size_is_a_matter_of_the_input() {
    let shape = |kernel, stride| ConvShape {
        in_channels: 1,
        out_channels: 1,
        kernel,
        stride,
        padding: Padding::Same,
    };
    // As in TensorFlow: if the number of zeros is odd, the larger half comes after the picture.
    assert_eq!(
        (shape(3, 2).output_size(8), shape(3, 2).zeros(8)),
        (4, (0, 1))
    );
    assert_eq!(
        (shape(3, 2).output_size(9), shape(3, 2).zeros(9)),
        (5, (1, 1))
    );
    assert_eq!(
        (shape(5, 2).output_size(8), shape(5, 2).zeros(8)),
        (4, (1, 2))
    );
    assert_eq!(
        (shape(1, 2).output_size(7), shape(1, 2).zeros(7)),
        (4, (0, 0))
    );
    assert_eq!(
        (shape(4, 1).output_size(7), shape(4, 1).zeros(7)),
        (7, (1, 2))
    );
    let wide = ConvShape {
        in_channels: 64,
        out_channels: 64,
        ..shape(3, 1)
    };
    let symmetric = ConvShape {
        padding: Padding::Symmetric(1),
        ..wide
    };
    for size in 1..30 {
        let choose = |shape| Algorithm::choose(shape, (size, 14), true);
        assert_eq!(choose(&wide), choose(&symmetric));
    }
}

#[test]
fn every_activation_ends_a_convolution() {
    for activation in ACTIVATIONS {
        let shape = ConvShape {
            in_channels: 37,
            out_channels: 45,
            kernel: 3,
            stride: 1,
            padding: Padding::Same,
        };
        for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
            check_dense_by(shape, algorithm, (2, 6, 5), activation);
        }
        let strided = ConvShape { stride: 2, ..shape };
        check_dense_by(strided, Algorithm::Direct, (2, 6, 5), activation);
        // The dense layers of squeeze-and-excitation have few rows.
        for (batch, in_channels, out_channels) in [(1, 40, 10), (3, 8, 1152), (8, 1024, 48)] {
            let dense = ConvShape {
                in_channels,
                out_channels,
                kernel: 1,
                ..shape
            };
            check_dense_by(dense, Algorithm::Direct, (batch, 1, 1), activation);
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
        padding: Padding::Symmetric(1),
    };
    check_dense(shape, (0, 4, 4));
}

#[test]
fn batch_norm_matches_its_definition() {
    let (pixels, channels) = (700, 21);
    // A mean far from zero exposes cancellation.
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
        // In two parts, as in the engine.
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
