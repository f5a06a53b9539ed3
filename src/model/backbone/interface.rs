//! What a backbone is to the rest of the program: a trait, and the tape of its training pass.

use std::fmt;
use std::time::Duration;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use super::architecture::Architecture;
use super::layers::Layer;
use crate::error::{Error, Result};
use crate::model::parameters::{Gradients, Parameter, Role};
use crate::model::pooling::{Features, Pooler};

/// A network that turns normalised `f32` pictures `[batch, height, width, 3]` into features: one
/// vector a picture, and maps. It reads its parameters anew whenever they have changed.
pub trait Backbone: fmt::Debug + Send + Sync {
    /// Width of the pooled features.
    fn num_pooled(&self) -> usize;

    /// Width of the maps.
    fn num_map_features(&self) -> usize;

    /// Features in evaluation mode, outside of the graph up to the pooling.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    fn features(&self, images: &Tensor) -> Result<Features>;

    /// Features in training mode, on which a loss can be built, and the tape that takes the
    /// loss's gradient back to the parameters. Running statistics move where the batch's are used.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    fn forward_train(&self, images: &Tensor) -> Result<(Features, Box<dyn Tape>)>;

    /// What it is made of, where it is a list of nodes.
    fn parts(&self) -> Option<Parts<'_>> {
        None
    }

    /// Time of every node since the last call, where it is taken.
    fn take_times(&self) -> Vec<NodeTime> {
        Vec::new()
    }
}

/// What a backbone that is a list of nodes is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The nodes.
    pub architecture: &'a Architecture,
    /// What they do, with their tensors: a layer for each node.
    pub layers: &'a [Layer],
    /// From the output of the last to features.
    pub pooler: &'a dyn Pooler,
}

/// Time of one node.
#[derive(Debug, Clone)]
pub struct NodeTime {
    /// The convolution's name, for example `layer1.0.conv1`, or `maxpool`.
    pub name: String,
    /// What it does, with the kernel where there is one: `conv 3x3`, `depthwise 5x5`, `gate`.
    pub operation: String,
    /// Forward, weight gradient, input gradient, in this order.
    pub times: [Duration; 3],
}

/// What a training pass keeps for its backward pass, which is to come before the parameters change.
pub trait Tape: fmt::Debug {
    /// Puts the gradients of the backbone's parameters that learn into `gradients`, from those of
    /// a loss built on the features (`loss.backward()`). None if the loss does not depend on them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()>;
}

/// The tape of a network whose operations are all in candle's graph, with its parameters that learn.
#[derive(Debug)]
pub struct InGraph(pub Vec<Parameter>);

impl InGraph {
    /// Of those among `parameters` that learn.
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

/// Refuses what is not a batch of pictures, or of such as are no multiple of `patch`; gives height
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
