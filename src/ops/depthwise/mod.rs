//! Depthwise convolution: each channel has its own filter. Forward and both gradients, vectorised
//! over channels.
//!
//! The usual kernels and strides have register blocks of their own: 3x3 reads the pictures where
//! they are, where pixels outside are a row of zeros, so that no tap is ever tested; `blocked`
//! copies a few channels of a wider kernel's picture first. `general` takes any kernel and stride
//! as it is written.

mod blocked;
mod blocked_gradient;
mod blocks;
mod ending;
mod forward;
mod frame;
mod general;
mod input_gradient;
pub(super) mod mixed;
mod places;
mod row;
mod shape;
mod weight_gradient;

pub use forward::{DepthwiseWeights, forward};
pub use input_gradient::input_gradient;
pub use shape::DepthwiseShape;
pub use weight_gradient::{gradient_len, partial_sums, unpack, weight_gradient};

#[cfg(test)]
mod tests;
