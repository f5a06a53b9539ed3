//! The gradients of the low-rank update of a linear layer, W + factor B A, computed through the
//! narrow matrices: with the input x and the output gradient g of one pixel,
//! `dB = factor g (A x)^T` and `dA = factor (B^T g) x^T`. The gradient of W itself, as much work as
//! the layer's forward pass, is never computed.

use super::super::architecture::{ConvNode, LowRankNode};
use super::super::layers::LowRank;
use super::folded::keep;
use super::network::Network;
use super::values::with_values;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::weight_gradient::{Layout, partial_sums, unpack};
use crate::ops::{
    Activation, Algorithm, Arena, BackwardWeights, ConvShape, ForwardWeights, Isa, Padding, conv,
};

/// The low-rank matrices of a linear layer, packed for a backward pass.
pub(super) struct Narrow<'a> {
    parameters: &'a LowRank,
    /// From the input to the rank, by A.
    down: (ConvShape, ForwardWeights),
    /// From the rank to the output, by B times `factors`.
    up: (ConvShape, BackwardWeights),
    /// One factor per output channel.
    factors: Vec<f32>,
}

impl<'a> Narrow<'a> {
    /// Packs the matrices of `node`, whose result is multiplied by `scale` (one value per output
    /// channel).
    pub(super) fn pack(
        network: &Network,
        node: &ConvNode,
        low_rank: &LowRankNode,
        parameters: &'a LowRank,
        scale: Option<&[f32]>,
    ) -> Result<Self> {
        let place = (network.isa, &network.arena);
        let factor = low_rank.factor as f32;
        let factors: Vec<f32> = match scale {
            Some(scale) => scale.iter().map(|scale| scale * factor).collect(),
            None => vec![factor; node.out_channels],
        };
        let linear = |in_channels, out_channels| ConvShape {
            in_channels,
            out_channels,
            kernel: 1,
            stride: 1,
            padding: Padding::Symmetric(0),
        };
        let down = linear(node.in_channels, low_rank.rank);
        let up = linear(low_rank.rank, node.out_channels);
        let how = Algorithm::Direct;
        let narrowing = with_values(&parameters.down.var, |weight| {
            ForwardWeights::pack(place, &down, how, weight, None, None)
        })?;
        let widening = with_values(&parameters.up.var, |weight| {
            BackwardWeights::pack(place, &up, how, weight, Some(&factors))
        })?;
        Ok(Narrow {
            parameters,
            down: (down, narrowing),
            up: (up, widening),
            factors,
        })
    }

    /// Returns the number of values in one partial sum.
    pub(super) fn len(&self) -> usize {
        Layout::new(&self.down.0).len() + Layout::new(&self.up.0).len()
    }

    /// Writes the sum over a few images, whose input has `dims` (batch, height, width), in about
    /// `tasks` tasks.
    pub(super) fn write(
        &self,
        (isa, arena): (Isa, &Arena),
        dims: (usize, usize, usize),
        input: &[f32],
        gradient: &[f32],
        tasks: usize,
        sums: &mut [f32],
    ) {
        let ((down, narrowing), (up, widening)) = (&self.down, &self.up);
        let (of_down, of_up) = sums.split_at_mut(Layout::new(down).len());
        let mut narrow = arena.take(dims.0 * dims.1 * dims.2 * down.out_channels);
        let none = Activation::None;
        conv::forward(isa, down, dims, input, narrowing, None, none, &mut narrow);
        partial_sums(isa, up, dims, &narrow, gradient, tasks, of_up);
        conv::input_gradient(isa, up, dims, gradient, widening, false, None, &mut narrow);
        partial_sums(isa, down, dims, input, &narrow, tasks, of_down);
    }

    /// Stores the gradients contained in a complete sum in `result`.
    pub(super) fn keep(&self, isa: Isa, sums: &[f32], result: &mut Gradients) -> Result<()> {
        let LowRank { down, up, .. } = self.parameters;
        let (of_down, of_up) = sums.split_at(Layout::new(&self.down.0).len());
        let parts = with_values(&down.var, |weight| {
            unpack(isa, &self.down.0, of_down, weight, None)
        })?;
        keep(down, parts.weight, result)?;
        let parts = with_values(&up.var, |weight| {
            unpack(isa, &self.up.0, of_up, weight, Some(&self.factors))
        })?;
        keep(up, parts.weight, result)
    }
}
