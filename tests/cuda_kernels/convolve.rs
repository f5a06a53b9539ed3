//! Tests convolutions and their gradients, with columns and in groups.

use candle_core::{DType, Tensor, Var};
use dbloss::ops::Padding;
use dbloss::ops::cuda::{Convolution, columns};

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, drawn, random, tensor, values};

/// Returns the shape of number `index`: every kind of padding, kernel, stride and groups in
/// rotation.
fn convolution(index: usize) -> Convolution {
    let (kernel, stride) = [(3, 1), (1, 1), (3, 2), (7, 2), (5, 1), (1, 2)][index % 6];
    let groups = [1, 1, 3, 1, 0][index % 5];
    let channels = 3 * drawn("channels", index, 1, 9);
    // 0 means depthwise.
    let (groups, out_channels) = match groups {
        0 => (channels, channels),
        groups => (groups, 3 * drawn("outputs", index, 1, 12)),
    };
    Convolution {
        in_channels: channels,
        out_channels,
        kernel,
        stride,
        padding: match index % 3 {
            0 => Padding::Same,
            _ => Padding::Symmetric(kernel / 2),
        },
        groups,
    }
}

/// Returns output and gradients of input and weights, computed by candle in double precision,
/// channels last.
fn by_candle(x: &Tensor, w: &Tensor, g: &Tensor, shape: &Convolution) -> [Vec<f32>; 3] {
    let wide = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64).unwrap()).unwrap();
    let (x, w) = (wide(x), wide(w));
    let mut picture = x.permute((0, 3, 1, 2)).unwrap();
    for dim in [2, 3] {
        let size = picture.dim(dim).unwrap();
        let (before, after) = shape.padding.zeros(size, shape.kernel, shape.stride);
        picture = picture.pad_with_zeros(dim, before, after).unwrap();
    }
    let weights = w.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let picture = picture.contiguous().unwrap();
    let y = picture.conv2d(&weights, 0, shape.stride, 1, shape.groups);
    let y = y
        .unwrap()
        .permute((0, 2, 3, 1))
        .unwrap()
        .contiguous()
        .unwrap();
    let loss = (&y * g.to_dtype(DType::F64).unwrap()).unwrap();
    let found = loss.sum_all().unwrap().backward().unwrap();
    [
        values(&y),
        values(found.get(&x).unwrap()),
        values(found.get(&w).unwrap()),
    ]
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn convolutions_and_their_gradients_are_those_of_primitive_operations() {
    use_host_kernels();
    for index in 0..30 {
        let shape = convolution(index);
        let batch = drawn("batch", index, 1, 4);
        let height = drawn("height", index, 7, 15);
        // With a stride, candle's own gradient only supports square pictures.
        let width = match shape.stride {
            1 => drawn("width", index, 7, 15),
            _ => height,
        };
        let what = format!("{batch} x {height} x {width}, {shape:?}");
        let (rows, columns) = shape.output_size((height, width));
        let inner = shape.in_channels / shape.groups;
        let make =
            |name: &str, sizes: &[usize]| tensor(&random(name, sizes.iter().product()), sizes);
        let x = make("x", &[batch, height, width, shape.in_channels]);
        let w = make(
            "w",
            &[shape.out_channels, shape.kernel, shape.kernel, inner],
        );
        let g = make("g", &[batch, rows, columns, shape.out_channels]);
        let [y, of_x, of_w] = by_candle(&x, &w, &g, &shape);
        // All columns at once, and a few at a time.
        for bytes in [1 << 30, 4000] {
            let found = columns::forward(&x, &w, &shape, bytes).unwrap();
            assert_eq!(found.dims(), g.dims(), "{what}");
            assert_close(&what, &values(&found), &y, 1e-5);
            let size = (height, width);
            let found = columns::input_gradient(&g, &w, &shape, size, bytes).unwrap();
            assert_close(&what, &values(&found), &of_x, 1e-5);
            let found = columns::weight_gradient(&x, &g, &shape, bytes).unwrap();
            assert_eq!(found.dims(), w.dims(), "{what}");
            assert_close(&what, &values(&found), &of_w, 1e-5);
        }
    }
}
