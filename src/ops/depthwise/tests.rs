//! Depthwise kernels against plain loops in double precision.

use super::*;
use crate::ops::reference::{ACTIVATIONS, Reference, TOLERANCE, assert_within};
use crate::ops::{Activation, Arena, ConvShape, Isa, Padding};

/// Checks all kernels on the same data.
fn check(shape: DepthwiseShape, dims: (usize, usize, usize), activation: Activation) {
    let DepthwiseShape {
        channels,
        kernel,
        stride,
        padding,
    } = shape;
    let dense = ConvShape {
        in_channels: channels,
        out_channels: channels,
        kernel,
        stride,
        padding,
    };
    let numbers = Reference::new(dense, channels, dims);
    let expected = numbers.expected(activation);
    let (input, gradient) = (&numbers.input, &numbers.gradient);
    let (scale, weight) = (Some(numbers.scale.as_slice()), &numbers.weight);
    let taps = kernel * kernel;
    for isa in Isa::available() {
        let name = format!("{} {shape:?} {dims:?} {activation:?}", isa.name());
        let assert_close = |what: &str, found: &[f32], expected: &[f64], terms: usize| {
            let what = format!("{name} {what}");
            assert_within(&what, found, expected, terms, TOLERANCE);
        };
        let bias = Some(numbers.bias.clone());
        let packed = DepthwiseWeights::pack(&shape, weight, scale, bias);
        let mut found = vec![f32::NAN; gradient.len()];
        let residual = Some(numbers.residual.as_slice());
        forward(
            isa, &shape, dims, input, &packed, residual, activation, &mut found,
        );
        assert_close("output", &found, &expected.output, taps);

        let mut found = numbers.other.clone();
        let mask = Some((input.as_slice(), activation));
        input_gradient(isa, &shape, dims, gradient, &packed, true, mask, &mut found);
        assert_close("input gradient", &found, &expected.input_gradient, taps);

        let sums = weight_gradient(isa, &shape, dims, input, gradient, &Arena::new());
        let parts = unpack(&shape, &sums, weight, scale);
        expected.assert_parts(&name, &parts, (numbers.pixels(), taps), TOLERANCE);
    }
}

fn paddings(kernel: usize) -> [Padding; 3] {
    let half = kernel / 2;
    [
        Padding::Same,
        Padding::Symmetric(half),
        Padding::Symmetric(0),
    ]
}

#[test]
fn small_pictures_under_every_kernel() {
    for (size, kernel, stride) in (1..10)
        .flat_map(|size| [1, 3, 5, 7, 9].map(|kernel| (size, kernel)))
        .flat_map(|(size, kernel)| [1, 2].map(|stride| (size, kernel, stride)))
    {
        for padding in paddings(kernel) {
            for channels in [1, 19, 32] {
                let shape = DepthwiseShape {
                    channels,
                    kernel,
                    stride,
                    padding,
                };
                check(shape, (2, size, 10 - size), Activation::Relu6);
            }
        }
    }
}

#[test]
fn pictures_of_several_blocks() {
    for (kernel, stride) in [
        (3, 1),
        (3, 2),
        (3, 3),
        (5, 1),
        (5, 2),
        (7, 1),
        (7, 2),
        (5, 3),
        (7, 4),
    ] {
        for padding in [Padding::Same, Padding::Symmetric(kernel / 2)] {
            let shape = DepthwiseShape {
                channels: 70,
                kernel,
                stride,
                padding,
            };
            for (height, width) in [(14, 14), (7, 29), (41, 23)] {
                check(shape, (2, height, width), Activation::None);
            }
        }
    }
}

#[test]
fn more_zeros_than_the_kernel_is_wide() {
    for (kernel, stride, padding) in [(3, 1, 3), (3, 2, 4), (5, 1, 6), (5, 2, 7), (7, 1, 7)] {
        let shape = DepthwiseShape {
            channels: 18,
            kernel,
            stride,
            padding: Padding::Symmetric(padding),
        };
        check(shape, (1, 6, 5), Activation::None);
    }
}

#[test]
fn every_activation_ends_a_convolution() {
    for activation in ACTIVATIONS {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (9, 1), (9, 2)] {
            let shape = DepthwiseShape {
                channels: 37,
                kernel,
                stride,
                padding: Padding::Same,
            };
            check(shape, (2, 9, 8), activation);
        }
    }
}

#[test]
fn empty_batches_do_nothing() {
    for kernel in [3, 5, 9] {
        let shape = DepthwiseShape {
            channels: 4,
            kernel,
            stride: 1,
            padding: Padding::Same,
        };
        check(shape, (0, 4, 4), Activation::Relu);
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let shape = DepthwiseShape {
        channels: 70,
        kernel: 5,
        stride: 1,
        padding: Padding::Same,
    };
    let dims = (3, 40, 23);
    let dense = ConvShape {
        in_channels: 70,
        out_channels: 70,
        kernel: 5,
        stride: 1,
        padding: Padding::Same,
    };
    let numbers = Reference::new(dense, 70, dims);
    let (input, gradient) = (&numbers.input, &numbers.gradient);
    let isa = Isa::best();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().expect("a thread pool");
        pool.install(|| {
            let packed = DepthwiseWeights::pack(&shape, &numbers.weight, None, None);
            let mut output = vec![f32::NAN; gradient.len()];
            let silu = Activation::Silu;
            forward(isa, &shape, dims, input, &packed, None, silu, &mut output);
            let mut back = vec![f32::NAN; input.len()];
            input_gradient(isa, &shape, dims, gradient, &packed, false, None, &mut back);
            let sums = weight_gradient(isa, &shape, dims, input, gradient, &Arena::new());
            let sums = sums[..gradient_len(&shape)].to_vec();
            [output, back, sums]
                .map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        })
    };
    assert_eq!(run(1), run(3));
}
