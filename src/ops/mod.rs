//! Numeric kernels of the CPU engine: convolution, pooling, batch norm and their gradients.
//!
//! Kernels work on plain `f32` slices in channels-last order `[batch, height, width, channels]` and
//! do not depend on candle, except for `graph` and `cuda`. This module contains the only `unsafe`
//! code of the project.
//!
//! | file | contents |
//! | --- | --- |
//! | `isa` | detects the machine's instruction sets and compiles kernels for each of them |
//! | `buffer` | cache-line aligned buffers and an arena that reuses them |
//! | `disjoint` | writing to one slice from several threads |
//! | `vector` | the vector registers of each instruction set behind one interface |
//! | `tile` | the register tile: the inner loop in which nearly all time is spent |
//! | `window` | which inputs a sliding window covers at each position |
//! | `correlate` | sliding-window matrix product with a fused epilogue |
//! | `shape` | the geometry of a convolution |
//! | `conv` | forward convolution and input gradient on top of `correlate`, packing of weights |
//! | `winograd` | 3x3 convolution of stride 1 with fewer multiplications |
//! | `weight_gradient` | the gradient of a convolution's weights |
//! | `depthwise` | depthwise convolution and its gradients |
//! | `pool` | max pooling, global average pooling and their gradients |
//! | `average_pool` | average pooling and its gradient |
//! | `batch_norm` | batch statistics, normalisation and their gradients |
//! | `gate` | multiplication by one factor per channel and picture, and its gradients |
//! | `grouped` | grouped convolution and its gradients |
//! | `layer_norm` | layer norm over the channels and its gradients |
//! | `linear` | linear layers with few rows, and the gradient of their weight matrix |
//! | `dots` | dot products of the rows of two matrices, without packing |
//! | `matrix` | products of small matrices with the register tile |
//! | `graph` | some of these kernels as operations of candle's autograd graph |
//! | `cuda` | the same for NVIDIA GPUs |
//! | `attention` | multi-head self-attention and its gradient |
//! | `tokens` | assembling tokens from patches and position embeddings, and the gradients |
//! | `mapped` | memory-mapped files |
//! | `peak` | the machine's peak arithmetic throughput, as a yardstick for kernels |
//! | `activation` | activations and their derivatives |
//! | `elementwise` | element-wise passes over memory |
//!
//! Every result is bit-for-bit identical for any number of threads: work is divided by the shape of
//! the problem alone, and partial sums are added in a fixed order.

#![allow(
    unsafe_code,
    reason = "the kernels' registers, raw places and mapped files"
)]

mod activation;
pub mod attention;
pub mod average_pool;
pub mod batch_norm;
pub mod buffer;
pub mod conv;
mod correlate;
pub mod cuda;
pub mod depthwise;
mod disjoint;
mod dots;
pub mod elementwise;
pub mod gate;
pub mod graph;
pub mod grouped;
pub mod isa;
mod lanes;
pub mod layer_norm;
pub mod linear;
mod mapped;
mod matrix;
pub mod peak;
pub mod pool;
#[cfg(test)]
mod reference;
mod shape;
mod tile;
pub mod tokens;
mod vector;
pub mod weight_gradient;
mod window;
mod winograd;

pub use activation::Activation;
pub use buffer::{AlignedVec, Arena, Buffer, keep_freed_memory};
pub use conv::{Algorithm, BackwardWeights, ForwardWeights};
pub use correlate::{Addend, Epilogue};
pub use isa::Isa;
pub use mapped::MappedFile;
pub use shape::{ConvShape, Padding};
