//! The kernels of NVIDIA GPUs, and what launches them.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `kernels/` | the kernels, one source for the device and, in the tests, for the host |
//! | `plan` | which kernels an operation launches, on what and how wide: plain data |
//! | `run` | who runs a plan: the device, or a runner that a test installs for the CPU |
//! | `device` | the runner of the device, in builds with the feature `cuda` |
//! | `affine` | what follows a convolution: norm or bias, residual, activation |
//! | `rows` | layer norm and softmax |
//! | `windows` | max pooling and means over pixels |
//! | `convolution` | the shape of a convolution |
//! | `convolve` | convolutions and their gradients, by one of the next two |
//! | `columns` | by products of matrices, and in groups as they are defined |
//! | `cudnn` | by cuDNN, in builds with that feature |
//! | `descriptor` | what cuDNN is told of a convolution |
//! | `step` | dropout, the norm of gradients, the update of parameters |
//! | `loss` | element-wise losses |
//!
//! Tensors are contiguous, of single precision and channels last. The operations are no part of
//! candle's graph: who calls them keeps what the backward pass needs. All of this is compiled in
//! every build, so that it can be held against the kernels of the CPU on any machine
//! (`tests/cuda_kernels.rs`); only `device` needs CUDA.

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
