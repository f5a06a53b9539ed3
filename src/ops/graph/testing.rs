//! Helpers shared by the tests of operations.

use candle_core::{DType, Device, Tensor, Var};

/// Returns a variable whose values, in row-major order, are `value(0)`, `value(1)` and so on.
pub(super) fn var(dtype: DType, shape: &[usize], value: impl Fn(usize) -> f64) -> Var {
    let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
    let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
}

/// Returns all values of a tensor.
pub(super) fn wide(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
