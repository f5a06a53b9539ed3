//! Weights and inputs that follow from a formula, element by element, so that two programs can
//! build the same tensors without exchanging them.

use candle_core::Tensor;
use dbloss::model::Parameters;

/// Returns element `index` of the tensor `name`, in [-1, 1): SplitMix64 seeded with the FNV-1a hash
/// of the name.
pub(crate) fn element(name: &str, index: usize) -> f32 {
    of_seed(seed(name), index)
}

/// Returns the first elements of the tensor `name`.
pub(crate) fn elements(name: &str, count: usize) -> Vec<f32> {
    let seed = seed(name);
    (0..count).map(|index| of_seed(seed, index)).collect()
}

fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn of_seed(seed: u64, index: usize) -> f32 {
    let step = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(index as u64 + 1);
    let mut z = seed.wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    ((z >> 40) as f64 / f64::from(1u32 << 23) - 1.0) as f32
}

/// Returns the values of the tensor `name` with the given shape.
pub(crate) fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let fan_in = count / shape.first().copied().unwrap_or(1).max(1);
    let (offset, scale) = if name.ends_with("running_mean") {
        (0.0, 0.1)
    } else if name.ends_with("running_var") {
        (1.0, 0.25)
    } else if shape.len() > 1 {
        (0.0, (6.0 / fan_in as f64).sqrt())
    } else if name.ends_with("weight") {
        (1.0, 0.1)
    } else {
        (0.0, 0.05)
    };
    (0..count)
        .map(|i| (offset + scale * f64::from(element(name, i))) as f32)
        .collect()
}

/// Sets every tensor of a model to the values of the formula.
pub(crate) fn fill(parameters: &Parameters) {
    for entry in parameters.iter() {
        let shape = entry.var.dims().to_vec();
        let values = Tensor::from_vec(values(&entry.name, &shape), shape, entry.var.device())
            .and_then(|t| t.to_dtype(entry.var.dtype()))
            .expect("a tensor");
        entry.set(&values).expect("the same shape");
    }
}

/// Returns pictures `[batch, size, size, 3]`: the formula's values in the order
/// `[batch, 3, size, size]`, scaled.
pub(crate) fn images(name: &str, batch: usize, size: usize, scale: f32) -> Tensor {
    let count = batch * 3 * size * size;
    let values: Vec<f32> = (0..count).map(|i| element(name, i) * scale).collect();
    Tensor::from_vec(values, (batch, 3, size, size), &candle_core::Device::Cpu)
        .and_then(|t| t.permute((0, 2, 3, 1))?.contiguous())
        .expect("pictures")
}
