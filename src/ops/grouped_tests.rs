//! Tests grouped convolutions against plain loops in double precision.

use super::*;
use crate::ops::Padding;
use crate::ops::reference::{ACTIVATIONS, Reference, TOLERANCE, assert_within};

/// Checks all kernels on the same data, for given channels per group.
fn check(
    (groups, inputs, outputs): (usize, usize, usize),
    (kernel, stride, padding): (usize, usize, Padding),
    dims: (usize, usize, usize),
    activation: Activation,
) {
    let conv = ConvShape {
        in_channels: groups * inputs,
        out_channels: groups * outputs,
        kernel,
        stride,
        padding,
    };
    let shape = GroupedShape { conv, groups };
    let numbers = Reference::new(conv, groups, dims);
    let expected = numbers.expected(activation);
    let (input, gradient) = (&numbers.input, &numbers.gradient);
    let (scale, weight) = (Some(numbers.scale.as_slice()), &numbers.weight);
    let arena = Arena::new();
    for isa in Isa::available() {
        let name = format!("{} {shape:?} {dims:?} {activation:?}", isa.name());
        let assert_close = |what: &str, found: &[f32], expected: &[f64], terms: usize| {
            let what = format!("{name} {what}");
            assert_within(&what, found, expected, terms, TOLERANCE);
        };
        let bias = Some(numbers.bias.clone());
        let packed = ForwardWeights::pack((isa, &arena), &shape, weight, scale, bias);
        let mut found = vec![f32::NAN; gradient.len()];
        let residual = Some(numbers.residual.as_slice());
        forward(
            isa, &shape, dims, input, &packed, residual, activation, &mut found,
        );
        assert_close("output", &found, &expected.output, shape.filter_len());

        let packed = BackwardWeights::pack((isa, &arena), &shape, weight, scale);
        let mut found = numbers.other.clone();
        let mask = Some((input.as_slice(), activation));
        input_gradient(isa, &shape, dims, gradient, &packed, true, mask, &mut found);
        let terms = kernel * kernel * outputs;
        assert_close("input gradient", &found, &expected.input_gradient, terms);

        let sums = weight_gradient(isa, &shape, dims, input, gradient, &arena);
        let parts = unpack(isa, &shape, &sums, weight, scale);
        let terms = (numbers.pixels(), shape.filter_len());
        expected.assert_parts(&name, &parts, terms, TOLERANCE);
    }
}

#[test]
fn groups_of_every_width() {
    // Groups as in ResNeXt, some that do not fill a block, a single group, and more outputs than
    // inputs.
    let groups = [
        (32, 4, 4),
        (8, 8, 8),
        (3, 16, 16),
        (2, 32, 32),
        (5, 7, 3),
        (3, 40, 50),
        (1, 9, 70),
    ];
    for groups in groups {
        for (kernel, stride, padding) in [
            (3, 1, Padding::Symmetric(1)),
            (3, 2, Padding::Symmetric(1)),
            (3, 2, Padding::Same),
            (1, 1, Padding::Symmetric(0)),
            (1, 2, Padding::Same),
            (5, 1, Padding::Same),
        ] {
            check(
                groups,
                (kernel, stride, padding),
                (2, 7, 5),
                Activation::Relu,
            );
        }
    }
}

#[test]
fn small_pictures_and_many() {
    for size in 1..10 {
        for stride in [1, 2] {
            let conv = (3, stride, Padding::Symmetric(1));
            check((9, 4, 4), conv, (1, size, 10 - size), Activation::None);
        }
    }
    check(
        (4, 8, 8),
        (3, 1, Padding::Same),
        (11, 4, 4),
        Activation::Relu,
    );
    check(
        (4, 8, 8),
        (3, 1, Padding::Same),
        (0, 4, 4),
        Activation::Relu,
    );
}

#[test]
fn every_activation_ends_a_convolution() {
    for activation in ACTIVATIONS {
        check(
            (9, 4, 4),
            (3, 1, Padding::Symmetric(1)),
            (2, 6, 5),
            activation,
        );
    }
}
