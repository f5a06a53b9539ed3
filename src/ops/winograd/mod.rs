//! 3x3 convolution of stride 1 by Winograd's minimal filtering: 36 products for 4 x 4 outputs,
//! where direct summation takes 144.
//!
//! A task takes a few tiles of the picture, transforms their inputs to the 36 points, multiplies
//! each point's matrix `[tiles][channels]` by that point's weights, and transforms the products
//! back to pixels, with the same epilogue as the direct kernel. The result of a tile does not
//! depend on which other tiles are computed with it.

mod gradient;
mod tiles;
mod transform;

use std::cell::Cell;

use rayon::prelude::*;

use super::buffer::{AlignedVec, Arena, Buffer};
use super::correlate::{Addend, Epilogue};
use super::disjoint::Disjoint;
use super::isa::{Arithmetic, Isa, Op};
use super::shape::ConvShape;
use super::tile::{MAX_ROWS, PANEL, Product};
use super::vector::Vector;
use tiles::{Finish, Gather, Layout};
use transform::{Filter, IN, Input, Map, POINTS};

pub(super) use gradient::weight_gradient;
pub(super) use tiles::Tiling;

/// Number of transformed values of a task's tiles (before and after the product), which should stay
/// in the L2 cache.
const TASK_LEN: usize = 96 * 1024;
/// Minimum number of tiles of a task, so that loading the weights pays off.
const TASK_TILES: usize = 28;
/// Number of channels from which on the weights are so many that tasks need more tiles.
const DEEP: usize = 512;
/// Minimum number of tiles of a task in deep layers.
const DEEP_TILES: usize = 64;
/// Number of weights of a group of panels, which stay in L2 while rows of tiles pass over them.
const GROUP_LEN: usize = 64 * 1024;

/// Number of weights of a 3x3 filter.
const TAPS: usize = 9;

/// Returns whether Winograd saves enough work for an input of `height` x `width`: tiles that extend
/// beyond the border compute outputs that are not needed.
pub(super) fn pays(shape: &ConvShape, height: usize, width: usize) -> bool {
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let tiles = rows.div_ceil(transform::OUT) * columns.div_ceil(transform::OUT);
    let direct = 9 * rows * columns;
    (shape.kernel, shape.stride) == (3, 1)
        && shape.zeros(height).0 <= 2
        && shape.in_channels.min(shape.out_channels) >= 32
        && direct >= 2 * POINTS * tiles
}

/// Filters transformed to the 36 points: `[columns / PANEL][POINTS][depth][PANEL]`, with the last
/// panel zero-padded.
#[derive(Debug)]
pub(super) struct PointWeights {
    data: Buffer,
    depth: usize,
    columns: usize,
}

impl PointWeights {
    /// Transforms `weight`, multiplied by `scale` (one value per output channel), for the forward
    /// pass or, if `transposed`, for the gradient of the input: then input and output channels are
    /// swapped and the taps are reversed.
    pub(super) fn pack(
        (isa, arena): (Isa, &Arena),
        shape: &ConvShape,
        transposed: bool,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let (depth, columns) = if transposed {
            (shape.out_channels, shape.in_channels)
        } else {
            (shape.in_channels, shape.out_channels)
        };
        let mut data = arena.take(columns.div_ceil(PANEL) * POINTS * depth * PANEL);
        data.par_chunks_mut((POINTS * depth * PANEL).max(1))
            .enumerate()
            .for_each(|(panel, chunk)| {
                let first = panel * PANEL;
                let wanted = (columns - first).min(PANEL);
                for row in 0..depth {
                    let mut taps = [[0.0f32; PANEL]; TAPS];
                    for column in first..first + wanted {
                        let (out, channel) = if transposed {
                            (row, column)
                        } else {
                            (column, row)
                        };
                        let filter = &weight[(out * shape.in_channels + channel) * TAPS..][..TAPS];
                        let scale = scale.map_or(1.0, |scale| scale[out]);
                        for (tap, value) in filter.iter().enumerate() {
                            let tap = if transposed { TAPS - 1 - tap } else { tap };
                            taps[tap][column - first] = value * scale;
                        }
                    }
                    isa.run(PackRow {
                        taps: &taps,
                        row,
                        depth,
                        panel: chunk,
                    });
                }
            });
        PointWeights {
            data,
            depth,
            columns,
        }
    }
}

/// Transforms the filters between one input channel and a panel of output channels: G g G^T.
struct PackRow<'a> {
    taps: &'a [[f32; PANEL]; TAPS],
    row: usize,
    depth: usize,
    panel: &'a mut [f32],
}

impl Op for PackRow<'_> {
    type Output = ();
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn run<R: Arithmetic>(self) {
        assert_eq!(self.panel.len(), POINTS * self.depth * PANEL);
        assert!(self.row < self.depth);
        for lane in (0..PANEL).step_by(R::Vector::LANES) {
            let mut filter = [[R::Vector::splat(0.0); 3]; 3];
            for i in 0..3 {
                for j in 0..3 {
                    let taps = self.taps[3 * i + j].as_ptr();
                    // SAFETY: whole registers of a row of PANEL values.
                    filter[i][j] = unsafe { R::Vector::load(taps.add(lane), R::Vector::LANES) };
                }
            }
            let values = Filter::square(&filter);
            for i in 0..IN {
                for j in 0..IN {
                    let at = ((i * IN + j) * self.depth + self.row) * PANEL + lane;
                    // SAFETY: a whole register inside of the panel, by the assertions above.
                    unsafe {
                        let place = self.panel.as_mut_ptr().add(at);
                        values[i][j].store(place, R::Vector::LANES);
                    }
                }
            }
        }
    }
}

thread_local! {
    /// The transformed values of a task's tiles before and after the product; taken out while in
    /// use.
    static SCRATCH: Cell<(AlignedVec, AlignedVec)> = Cell::default();
}

/// Slides a 3x3 window over `source` (`weights.depth` channels), multiplies its contents by
/// `weights` and writes the results to `destination` (`weights.columns` channels).
///
/// # Panics
/// If the length of a slice does not match the tiling.
pub(super) fn correlate(
    isa: Isa,
    tiling: &Tiling,
    source: &[f32],
    weights: &PointWeights,
    destination: &mut [f32],
    epilogue: &Epilogue,
) {
    let (depth, columns) = (weights.depth, weights.columns);
    let len = tiling.result_pixels() * columns;
    assert_eq!(source.len(), tiling.source_pixels() * depth);
    assert_eq!(destination.len(), len);
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == columns));
    assert!(epilogue.mask.is_none_or(|(mask, _)| mask.len() == len));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), len);
    }
    let tiles = tiling.count();
    let least = if depth.max(columns) >= DEEP {
        DEEP_TILES
    } else {
        TASK_TILES
    };
    let most = (TASK_LEN / (POINTS * (depth + columns)).max(1)).max(least);
    // Small problems are split further, to use more cores.
    let tasks = tiles.div_ceil(most).max(tiles.div_ceil(TASK_TILES).min(2));
    let shared = Disjoint::new(destination);
    (0..tasks).into_par_iter().for_each(|task| {
        let range = tiles * task / tasks..tiles * (task + 1) / tasks;
        let (mut seen, mut products) = SCRATCH.take();
        let from = Layout::rows(range.len(), depth);
        let to = Layout::rows(range.len(), columns);
        seen.resize(from.len());
        products.resize(to.len());
        let gather = Gather {
            map: Input,
            tiling,
            values: source,
            channels: depth,
            tiles: range.clone(),
            layout: from,
            first: 0,
            points: seen.as_mut_ptr(),
            sums: &mut [],
        };
        // SAFETY: the buffer has the layout's length and belongs to this task.
        unsafe { gather.run(isa) };
        multiply(
            isa,
            range.len(),
            (&seen, from),
            weights,
            (&mut products, to),
        );
        let null = std::ptr::null();
        let (mask, mask_activation) = epilogue.mask.unzip();
        let finish = Finish {
            tiling,
            channels: columns,
            tiles: range,
            layout: to,
            points: &products,
            destination: shared.start(),
            bias: epilogue.bias,
            addend: match epilogue.addend {
                Addend::None => null,
                Addend::Tensor(tensor) => tensor.as_ptr(),
                Addend::Destination => shared.start().cast_const(),
            },
            activation: epilogue.activation,
            mask: mask.map_or(null, <[f32]>::as_ptr),
            mask_activation: mask_activation.unwrap_or(super::Activation::None),
        };
        // SAFETY: destination, addend and mask have the length of the results, as asserted above; a
        // pixel belongs to one tile and a tile to one task.
        unsafe { finish.run(isa) };
        SCRATCH.set((seen, products));
    });
}

/// Multiplies each point's matrix by its weights.
fn multiply(
    isa: Isa,
    tiles: usize,
    (seen, from): (&[f32], Layout),
    weights: &PointWeights,
    (products, to): (&mut [f32], Layout),
) {
    let (depth, columns) = (weights.depth, weights.columns);
    assert_eq!((seen.len(), products.len()), (from.len(), to.len()));
    let panels = columns.div_ceil(PANEL);
    let group = (GROUP_LEN / (depth * PANEL).max(1)).max(1);
    let parts = tiles.div_ceil(isa.rows());
    for point in 0..POINTS {
        for first in (0..panels).step_by(group) {
            for part in 0..parts {
                // Parts of equal size, so that the last one is not almost empty.
                let rows = tiles * part / parts..tiles * (part + 1) / parts;
                let mut pointers = [std::ptr::null(); MAX_ROWS];
                let mut offsets = [0; MAX_ROWS];
                for (place, tile) in rows.clone().enumerate() {
                    pointers[place] =
                        seen[point * from.point + tile * from.tile..][..depth].as_ptr();
                    offsets[place] = point * to.point + tile * to.tile;
                }
                let product = Product {
                    pointers: pointers.as_ptr(),
                    rows: rows.len(),
                    taps: 1,
                    run: depth,
                    goes_on: false,
                    weights: weights.data[point * depth * PANEL..].as_ptr(),
                    panel_stride: POINTS * depth * PANEL,
                    panels: first..(first + group).min(panels),
                    // The rows of the products are padded to whole panels.
                    columns: panels * PANEL,
                    destination: products.as_mut_ptr(),
                    offsets,
                    bias: std::ptr::null(),
                    addend: std::ptr::null(),
                    activation: super::Activation::None,
                    mask: std::ptr::null(),
                    mask_activation: super::Activation::None,
                };
                // SAFETY: the pointers come from slices of `depth` values; a row of the products
                // has `panels` whole panels by its layout, and they belong to this call alone; the
                // weights hold a panel of every point for each of the panels.
                unsafe { product.run(isa) };
            }
        }
    }
}
