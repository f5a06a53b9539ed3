//! Kernels for NVIDIA GPUs and the code that launches them.
//!
//! | file | contents |
//! | --- | --- |
//! | `kernels/` | the kernels: one source for the device and, in the tests, for the host |
//! | `plan` | which kernels an operation launches, on what and with how many blocks: plain data |
//! | `run` | runs a plan: on the device, or with a runner that a test installs for the CPU |
//! | `device` | the runner of the device, in builds with the feature `cuda` |
//! | `affine` | the operations after a convolution: norm or bias, residual, activation |
//! | `rows` | layer norm and softmax |
//! | `windows` | max pooling and global average pooling |
//! | `convolution` | the shape of a convolution |
//! | `convolve` | convolutions and their gradients, with one of the next two |
//! | `columns` | dense convolutions as matrix products, grouped convolutions directly |
//! | `cudnn` | convolutions with cuDNN, in builds with that feature |
//! | `descriptor` | a convolution in the form that cuDNN expects |
//! | `step` | dropout masks, the norm of gradients, parameter updates |
//! | `loss` | element-wise losses |
//!
//! Tensors are contiguous, in single precision and channels last. The operations are not part of
//! candle's graph: the caller keeps what the backward pass needs. All of this is compiled in every
//! build, so that it can be checked against the CPU kernels on any machine
//! (`tests/cuda_kernels.rs`); only `device` and `cudnn` need CUDA.

pub mod affine;
pub mod columns;
mod convolution;
pub mod convolve;
#[cfg(feature = "cudnn")]
mod cudnn;
pub mod descriptor;
#[cfg(feature = "cuda")]
mod device;
pub mod loss;
mod plan;
pub mod rows;
mod run;
pub mod step;
pub mod windows;

pub use convolution::Convolution;
pub use plan::{Arguments, Launch, Made, Place, Plan, THREADS};
pub use run::{Runner, install, serves};
