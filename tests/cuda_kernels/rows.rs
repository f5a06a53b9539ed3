//! Tests layer norm and softmax.

use candle_core::{DType, Var};
use dbloss::ops::Isa;
use dbloss::ops::cuda::rows;
use dbloss::ops::layer_norm::{forward, input_gradient, parameter_gradients};

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, drawn, random, tensor, values};

fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let awkward = [(1, 1), (3, 255), (2, 257), (300, 33), (5, 768), (700, 7)];
    let drawn = (0..5).map(|i| (drawn("rows", i, 1, 300), drawn("columns", i, 1, 600)));
    awkward.into_iter().chain(drawn)
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn layer_norm_and_its_gradients_are_those_of_the_cpu() {
    use_host_kernels();
    let isa = Isa::best();
    let epsilon = 1e-5;
    for (rows, columns) in shapes() {
        let what = format!("{rows} x {columns}");
        let (x, g) = (random("x", rows * columns), random("g", rows * columns));
        let (gamma, beta) = (random("gamma", columns), random("beta", columns));
        let mut y = vec![0.0; x.len()];
        forward(isa, columns, epsilon, &x, &gamma, &beta, &mut y);
        let mut of_x = vec![0.0; x.len()];
        input_gradient(
            isa, columns, epsilon, &x, &gamma, &g, false, None, &mut of_x,
        );
        let of_parameters = parameter_gradients(isa, columns, epsilon, &x, &g);

        let shape = [rows, columns];
        let [x, g] = [&x, &g].map(|v| tensor(v, &shape));
        let [gamma, beta] = [&gamma, &beta].map(|v| tensor(v, &[columns]));
        let (found, statistics) = rows::layer_norm(&x, &gamma, &beta, epsilon.into()).unwrap();
        assert_close(&what, &values(&found), &y, 5e-6);
        let found = rows::layer_norm_input(&x, &gamma, &statistics, &g).unwrap();
        assert_close(&what, &values(&found), &of_x, 2e-5);
        let found = rows::layer_norm_parameters(&x, &statistics, &g).unwrap();
        assert_close(&what, &values(&found), &of_parameters, 2e-5);
    }
}

/// Returns the softmax of scaled values and the gradient of the values, computed by candle in
/// double precision.
fn softmax_by_candle(x: &[f32], g: &[f32], shape: &[usize], scale: f64) -> [Vec<f32>; 2] {
    let wide = |v: &[f32]| tensor(v, shape).to_dtype(DType::F64).unwrap();
    let x = Var::from_tensor(&wide(x)).unwrap();
    let scaled = (x.as_tensor() * scale).unwrap();
    let y = dbloss::ops::graph::softmax(&scaled, 1).unwrap();
    let loss = (&y * wide(g)).unwrap().sum_all().unwrap();
    let found = loss.backward().unwrap();
    [values(&y), values(found.get(&x).unwrap())]
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn softmax_and_its_gradient_are_those_of_primitive_operations() {
    use_host_kernels();
    for (rows, columns) in shapes() {
        let what = format!("{rows} x {columns}");
        let len = rows * columns;
        let x: Vec<f32> = random("x", len).iter().map(|v| 30.0 * v).collect();
        let g = random("g", len);
        let shape = [rows, columns];
        let [y, of_x] = softmax_by_candle(&x, &g, &shape, 0.3);
        let found = rows::softmax(&tensor(&x, &shape), 0.3).unwrap();
        assert_close(&what, &values(&found), &y, 5e-6);
        let found = rows::softmax_input(&found, &tensor(&g, &shape), 0.3).unwrap();
        assert_close(&what, &values(&found), &of_x, 1e-5);
    }
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn a_value_that_is_no_number_is_not_lost() {
    use_host_kernels();
    let mut x = random("x", 600);
    x[200] = f32::NAN;
    let found = values(&rows::softmax(&tensor(&x, &[2, 300]), 1.0).unwrap());
    assert!(found[..300].iter().all(|v| v.is_nan()));
    assert!(found[300..].iter().all(|v| v.is_finite()));
}
