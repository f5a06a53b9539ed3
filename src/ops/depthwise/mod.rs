//! Depthwise convolution, in which each channel has its own filter: the forward pass and both
//! gradients, vectorised over channels.
//!
//! The usual kernel sizes and strides have their own register blocks. 3x3 kernels read the pictures
//! in place; a row of zeros stands in for pixels outside, so no tap is ever tested. For wider
//! kernels, `blocked` copies a few channels of the picture first. `general` handles any kernel size
//! and stride.

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
