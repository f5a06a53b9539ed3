//! The interface of backbones to the rest of the program: a trait, and the tape of its training
//! pass.

use std::fmt;
use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use super::architecture::Architecture;
use super::layers::Layer;
use crate::error::{Error, Result};
use crate::model::parameters::{Gradients, Parameter, Role};
use crate::model::pooling::{Features, Pooler};

/// A network that turns normalised `f32` images `[batch, height, width, 3]` into features: one
/// vector per image, and maps. It sees every change of its parameters.
pub trait Backbone: fmt::Debug + Send + Sync {
    /// Returns the width of the pooled features.
    fn num_pooled(&self) -> usize;

    /// Returns the width of the maps.
    fn num_map_features(&self) -> usize;

    /// Returns the features in evaluation mode; up to the pooling they are outside the graph.
    ///
    /// # Errors
    /// If the images have another shape or type.
    fn features(&self, images: &Tensor) -> Result<Features>;

    /// Returns the features in training mode, on which a loss can be built, and the tape that takes
    /// the gradient of the loss back to the parameters. If batch statistics are used, the running
    /// ones are updated.
    ///
    /// # Errors
    /// If the images have another shape or type.
    fn forward_train(&self, images: &Tensor) -> Result<(Features, Box<dyn Tape>)>;

    /// Returns its parts, if it is a list of nodes.
    fn parts(&self) -> Option<Parts<'_>> {
        None
    }

    /// Returns the time of every node since the last call, if it is measured.
    fn take_times(&self) -> Vec<NodeTime> {
        Vec::new()
    }
}

/// The parts of a backbone that is a list of nodes.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The nodes.
    pub architecture: &'a Architecture,
    /// The layers of the nodes, with their tensors, one for each node.
    pub layers: &'a [Layer],
    /// The pooling from the output of the last node to features.
    pub pooler: &'a dyn Pooler,
}

/// Time of one node.
#[derive(Debug, Clone)]
pub struct NodeTime {
    /// The name of the convolution, for example `layer1.0.conv1`, or `maxpool`.
    pub name: String,
    /// The operation, with the kernel if there is one: `conv 3x3`, `depthwise 5x5`, `gate`.
    pub operation: String,
    /// Forward, weight gradient and input gradient, in this order.
    pub times: [Duration; 3],
}

/// The state that a training pass keeps for its backward pass, which must run before the parameters
/// change.
pub trait Tape: fmt::Debug {
    /// Stores the gradients of the backbone's trainable parameters in `gradients`, computed from
    /// those of a loss built on the features (`loss.backward()`). There are none if the loss does
    /// not depend on them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()>;
}

/// The tape of a network whose operations are all in candle's graph: its trainable parameters.
#[derive(Debug)]
pub struct InGraph(pub Vec<Parameter>);

impl InGraph {
    /// Creates a tape of the trainable ones among `parameters`.
    pub fn of<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> Self {
        let learning =
            (parameters.into_iter()).filter(|parameter| parameter.role == Role::Trainable);
        InGraph(learning.cloned().collect())
    }
}

impl Tape for InGraph {
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()> {
        gradients.take_from(found, self.0.iter());
        Ok(())
    }
}

/// Checks that `images` is a batch of images whose sides are multiples of `patch`; returns height
/// and width.
pub(super) fn check_images(images: &Tensor, patch: Option<usize>) -> Result<(usize, usize)> {
    match images.dims() {
        &[_, height, width, 3] if images.dtype() == DType::F32 && height * width > 0 => {
            let patch = patch.unwrap_or(1);
            if height.is_multiple_of(patch) && width.is_multiple_of(patch) {
                return Ok((height, width));
            }
            Err(Error::input(
                "images",
                format_args!("{height} x {width} pixels cannot be cut into patches of {patch}"),
            )
            .hint("set `input.size` to a multiple of the patch size"))
        }
        dims => Err(Error::input(
            "images",
            format_args!(
                "expected `F32` pictures [batch, height, width, 3], found `{:?}` {dims:?}",
                images.dtype()
            ),
        )),
    }
}
