//! Resampling of position embeddings from one grid to another.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::tokens::positions::Resampling;

/// Resamples position embeddings `[side * side, channels]` of a square grid to a grid of (rows,
/// columns): `[rows * columns, channels]`, as part of the autograd graph; see [`Resampling`].
///
/// # Errors
/// If the shapes do not match.
pub fn resampled(
    positions: &Tensor,
    side: usize,
    (rows, columns): (usize, usize),
) -> Result<Tensor> {
    let (_, channels) = positions.dims2()?;
    if (rows, columns) == (side, side) {
        return Ok(positions.clone());
    }
    let weights = |to: usize| -> Result<Tensor> {
        let mut dense = vec![0.0; to * side];
        let lines = Resampling::new(side, to).rows;
        for (line, (start, weights)) in dense.chunks_exact_mut(side).zip(lines) {
            line[start..start + weights.len()].copy_from_slice(&weights);
        }
        let dense = Tensor::from_vec(dense, (to, side), positions.device())?;
        Ok(dense.to_dtype(positions.dtype())?)
    };
    let grid = positions.contiguous()?.reshape((side, side * channels))?;
    let down = weights(rows)?.matmul(&grid)?;
    let wide = down.reshape((rows, side, channels))?.transpose(0, 1)?;
    let wide = wide.contiguous()?.reshape((side, rows * channels))?;
    let grid = weights(columns)?.matmul(&wide)?;
    let grid = grid.reshape((columns, rows, channels))?.transpose(0, 1)?;
    Ok(grid.contiguous()?.reshape((rows * columns, channels))?)
}
