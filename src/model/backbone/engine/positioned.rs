//! Class token, registers and position embeddings for images of a given size, and their gradients.

use super::super::architecture::TokensNode;
use super::super::layers::TokensParameters;
use super::folded::keep;
use super::values::values;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::tokens::positions::Grid;

/// The leading tokens and the position embeddings for images of one size.
pub(super) struct Positioned {
    /// `[leading tokens, channels]`: the class token, with its position if it has one, and
    /// registers.
    pub first: Vec<f32>,
    /// `[patches, channels]`.
    pub places: Vec<f32>,
    grid: Grid,
}

impl Positioned {
    /// Prepares them for images of `size` patches (rows, columns).
    pub(super) fn new(
        node: &TokensNode,
        parameters: &TokensParameters,
        size: (usize, usize),
    ) -> Result<Self> {
        let mut first = values(&parameters.class.var)?;
        let positions = values(&parameters.positions.var)?;
        let own = if node.class_has_position {
            node.channels
        } else {
            0
        };
        for (value, position) in first.iter_mut().zip(&positions[..own]) {
            *value += position;
        }
        if let Some(registers) = &parameters.registers {
            first.extend(values(&registers.var)?);
        }
        let grid = Grid::new(node.side, size);
        Ok(Positioned {
            first,
            places: grid.apply(&positions[own..], node.channels),
            grid,
        })
    }

    /// Stores the gradients of the parameters in `result`, from `sums` over all images,
    /// `[tokens, channels]`.
    pub(super) fn keep(
        &self,
        node: &TokensNode,
        parameters: &TokensParameters,
        sums: &[f32],
        result: &mut Gradients,
    ) -> Result<()> {
        let (first, places) = sums.split_at(self.first.len());
        let (class, registers) = first.split_at(node.channels);
        let mut positions = match node.class_has_position {
            true => class.to_vec(),
            false => Vec::new(),
        };
        positions.extend(self.grid.gradient(places, node.channels));
        keep(&parameters.class, class.to_vec(), result)?;
        if let Some(parameter) = &parameters.registers {
            keep(parameter, registers.to_vec(), result)?;
        }
        keep(&parameters.positions, positions, result)
    }
}
