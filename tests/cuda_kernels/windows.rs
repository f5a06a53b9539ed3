//! Tests max pooling and means over pixels.

use dbloss::ops::Isa;
use dbloss::ops::cuda::windows;
use dbloss::ops::pool::{MaxPoolShape, max_pool, max_pool_gradient};

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, drawn, random, tensor, values};

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn max_pooling_and_its_gradient_are_those_of_the_cpu() {
    use_host_kernels();
    let isa = Isa::best();
    let windows = [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)];
    for index in 0..12 {
        let (kernel, stride, padding) = windows[index % windows.len()];
        let channels = drawn("channels", index, 1, 70);
        let (height, width) = (drawn("height", index, 5, 30), drawn("width", index, 5, 30));
        let batch = drawn("batch", index, 1, 4);
        let shape = MaxPoolShape {
            channels,
            kernel,
            stride,
            padding,
        };
        let what = format!("{batch} x {height} x {width}, {shape:?}");
        // Few distinct values, so that windows have ties for the maximum.
        let x = random("x", batch * height * width * channels);
        let x: Vec<f32> = x.iter().map(|v| (v * 4.0).round()).collect();
        let outputs = [
            batch,
            shape.output_size(height),
            shape.output_size(width),
            channels,
        ];
        let len: usize = outputs.iter().product();
        let (mut y, mut winners) = (vec![0.0; len], vec![0u8; len]);
        let size = (batch, height, width);
        max_pool(isa, &shape, size, &x, &mut y, Some(&mut winners));
        let g = random("g", len);
        let mut of_x = vec![0.0; x.len()];
        max_pool_gradient(isa, &shape, size, &g, &winners, None, &mut of_x);

        let given = tensor(&x, &[batch, height, width, channels]);
        let (found, kept) = windows::max_pool(&given, &shape).unwrap();
        assert_eq!(found.dims(), outputs, "{what}");
        assert_close(&what, &values(&found), &y, 0.0);
        let expected: Vec<f32> = winners.iter().map(|&w| w.into()).collect();
        assert_close(&what, &values(&kept), &expected, 0.0);
        let g = tensor(&g, &outputs);
        let found = windows::max_pool_input(&g, &kept, &shape, (height, width)).unwrap();
        assert_close(&what, &values(&found), &of_x, 1e-6);
    }
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn means_over_pixels_and_their_gradient_follow_the_definition() {
    use_host_kernels();
    for index in 0..8 {
        let batch = drawn("batch", index, 1, 5);
        let (height, width) = (drawn("height", index, 1, 12), drawn("width", index, 1, 12));
        let channels = drawn("channels", index, 1, 100);
        let pixels = height * width;
        let x = random("x", batch * pixels * channels);
        let mut means = vec![0.0f64; batch * channels];
        for (i, v) in x.iter().enumerate() {
            let picture = i / channels / pixels;
            means[picture * channels + i % channels] += f64::from(*v) / pixels as f64;
        }
        let means: Vec<f32> = means.iter().map(|&v| v as f32).collect();
        let found = windows::average(&tensor(&x, &[batch, height, width, channels])).unwrap();
        assert_close("means", &values(&found), &means, 1e-5);
        let g = random("g", batch * channels);
        let given = tensor(&g, &[batch, 1, 1, channels]);
        let found = windows::average_input(&given, (height, width)).unwrap();
        for (i, v) in values(&found).iter().enumerate() {
            let picture = i / channels / pixels;
            let expected = g[picture * channels + i % channels] / pixels as f32;
            assert!((v - expected).abs() <= 1e-7, "{v} {expected}");
        }
    }
}
