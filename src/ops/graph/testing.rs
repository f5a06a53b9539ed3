//! What the tests of operations have in common.

use candle_core::{DType, Device, Tensor, Var};

/// A variable whose values, row by row, are those of `value` for 0, 1, 2 and so on.
pub(super) fn var(dtype: DType, shape: &[usize], value: impl Fn(usize) -> f64) -> Var {
    let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
    let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
}

/// All values of a tensor.
pub(super) fn wide(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
