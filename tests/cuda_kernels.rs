//! Tests the GPU kernels, compiled for the host from the same source, against the CPU kernels: with
//! random sizes, and with sizes that fit blocks, lanes and parts badly.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

#[path = "cuda_kernels/affine.rs"]
mod affine;
mod common;
#[path = "cuda_kernels/convolve.rs"]
mod convolve;
#[path = "cuda_kernels/loss.rs"]
mod loss;
#[path = "cuda_kernels/network.rs"]
mod network;
#[path = "cuda_kernels/rows.rs"]
mod rows;
#[path = "cuda_kernels/step.rs"]
mod step;
#[path = "cuda_kernels/windows.rs"]
mod windows;

use candle_core::{DType, Device, Tensor};
use dbloss::rng::Stream;

/// Returns random numbers between -1 and 1.
fn random(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(7, name, len as u64, 0);
    (0..len).map(|_| stream.range(-1.0, 1.0) as f32).collect()
}

/// Returns draw number `index` of a test, in `low..high`.
fn drawn(name: &str, index: usize, low: usize, high: usize) -> usize {
    low + Stream::new(11, name, index as u64, 0).below(high - low)
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32));
    flat.unwrap().to_vec1().unwrap()
}

/// Asserts that deviations are at most `tolerance` times the largest value.
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let far = (f - e).abs() / largest;
        assert!(far <= tolerance, "{what}[{i}]: {f} for {e}");
    }
}
