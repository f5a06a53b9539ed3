//! Numeric kernels of the CPU engine: convolution, pooling, batch norm and their gradients.
//!
//! Kernels work on plain `f32` slices in channels-last order `[batch, height, width,
//! channels]` and know nothing of candle, but for `graph` and `cuda`. The only `unsafe` code of the project is here.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `isa` | which instructions the machine has, and how safe code is compiled for them |
//! | `buffer` | cache-line aligned buffers and the arena that reuses them |
//! | `disjoint` | writing to one slice from several threads |
//! | `vector` | vector registers of each instruction set behind one interface |
//! | `tile` | the register tile: the one loop where nearly all time is spent |
//! | `window` | which inputs a position of a sliding window sees |
//! | `correlate` | sliding-window matrix product with its epilogue |
//! | `shape` | the geometry of a convolution |
//! | `conv` | convolution forward and input gradient on top of it, packing of weights |
//! | `winograd` | 3x3 convolution of stride 1 with fewer multiplications |
//! | `weight_gradient` | the gradient of a convolution's weights |
//! | `depthwise` | depthwise convolution and its gradients |
//! | `pool` | max pooling, global average pooling and their gradients |
//! | `average_pool` | means over windows and their gradient |
//! | `batch_norm` | batch statistics, normalisation and their gradients |
//! | `gate` | a factor for each channel of each picture, and its gradients |
//! | `grouped` | convolution in groups and its gradients |
//! | `layer_norm` | layer norm over the channels and its gradients |
//! | `linear` | linear layers of few rows and the gradient of their matrix |
//! | `dots` | products of rows with rows, nothing packed |
//! | `matrix` | products of small matrices by the register tile |
//! | `graph` | some of them as operations of candle's graph |
//! | `cuda` | the same for NVIDIA GPUs |
//! | `attention` | attention among tokens and its gradient |
//! | `tokens` | from patches to tokens with positions, and the gradients |
//! | `mapped` | a file's bytes in memory without a copy |
//! | `peak` | the machine's limit, to hold kernels against |
//! | `activation` | activations and their derivatives |
//! | `elementwise` | passes over memory that do one thing to each element |
//!
//! Every result is bit for bit the same whatever the number of threads: work is divided by the
//! shape of the problem alone, and partial sums are added in a fixed order.

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
