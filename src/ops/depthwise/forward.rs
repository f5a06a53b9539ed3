//! The forward pass of depthwise convolution, and its packed weights.

use rayon::prelude::*;

use super::super::activation::Activation;
use super::super::correlate::{Addend, Epilogue};
use super::super::isa::Isa;
use super::blocked::Correlation;
use super::ending::{Ending, check};
use super::general;
use super::places::{KERNEL, Places};
use super::row::SlideRow;
use super::shape::{DepthwiseShape, Grid};

/// Filters in the order `[tap][channel]`, together with the bias.
#[derive(Debug)]
pub struct DepthwiseWeights {
    pub(super) taps: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl DepthwiseWeights {
    /// Packs PyTorch's `[channels, 1, kernel, kernel]`, multiplied by `scale` (one value per
    /// channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        shape: &DepthwiseShape,
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        let (channels, area) = (shape.channels, shape.taps());
        assert_eq!(weight.len(), channels * area);
        assert!(bias.as_ref().is_none_or(|b| b.len() == channels));
        let mut taps = vec![0.0; weight.len()];
        for channel in 0..channels {
            let scale = scale.map_or(1.0, |scale| scale[channel]);
            for tap in 0..area {
                taps[tap * channels + channel] = weight[channel * area + tap] * scale;
            }
        }
        DepthwiseWeights { taps, bias }
    }
}

/// Writes the convolution of `input` `[batch, height, width, channels]` to `output`, plus the
/// residual, followed by the activation.
///
/// # Panics
/// If the length of a slice does not match the shapes.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    isa: Isa,
    shape: &DepthwiseShape,
    dims: (usize, usize, usize),
    input: &[f32],
    weights: &DepthwiseWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let epilogue = Epilogue {
        bias: weights.bias.as_deref(),
        addend: residual.map_or(Addend::None, Addend::Tensor),
        activation,
        mask: None,
    };
    slide(
        isa,
        &shape.grid(dims),
        input,
        &weights.taps,
        false,
        output,
        &epilogue,
    );
}

/// Computes the convolution with its epilogue; with `flip`, the taps are taken in reverse order.
pub(super) fn slide(
    isa: Isa,
    grid: &Grid,
    input: &[f32],
    taps: &[f32],
    flip: bool,
    output: &mut [f32],
    epilogue: &Epilogue,
) {
    let channels = grid.channels;
    assert_eq!(input.len(), grid.input_len());
    assert_eq!(output.len(), grid.output_len());
    assert_eq!(taps.len(), grid.kernel * grid.kernel * channels);
    check(channels, epilogue, output.len());
    if output.is_empty() {
        return;
    }
    if grid.kernel != KERNEL && Correlation::knows(grid.kernel, grid.stride) {
        return Correlation::forward(grid, 1, flip).run(isa, input, taps, output, epilogue);
    }
    let zeros = vec![0.0; channels];
    let places = Places {
        grid: *grid,
        input,
        zeros: &zeros,
    };
    output
        .par_chunks_mut(grid.columns * channels)
        .enumerate()
        .for_each(|(index, output)| {
            let end = Ending::new(epilogue, index * output.len(), output.as_mut_ptr());
            let (n, y) = (index / grid.rows, index % grid.rows);
            if grid.kernel == KERNEL {
                isa.run(SlideRow {
                    places,
                    n,
                    y,
                    taps,
                    flip,
                    end,
                });
            } else {
                isa.run(general::Row {
                    places,
                    n,
                    y,
                    taps,
                    flip,
                    end,
                });
            }
        });
}
