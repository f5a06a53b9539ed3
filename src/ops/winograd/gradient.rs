//! The gradient of the weights in the transformed domain: at each of the 36 points the product of
//! input and output gradient, summed over tiles; then G^T u G.

use std::cell::Cell;

use rayon::prelude::*;

use super::super::buffer::{AlignedVec, Arena};
use super::super::disjoint::Disjoint;
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::shape::ConvShape;
use super::super::tile::{Outer, PANEL};
use super::super::vector::Vector;
use super::super::weight_gradient;
use super::tiles::{Gather, Layout, Tiling};
use super::transform::{FilterGradient, IN, Input, Map, OutputGradient, POINTS};

/// Number of transformed values of input and output gradient of the tiles that are summed together;
/// they should stay in the L3 cache.
const BLOCK_LEN: usize = 3 << 19;
/// Minimum number of tiles that are summed together: their sum is transformed back only once.
const BLOCK_TILES: usize = 128;
/// Number of tiles that one task transforms.
const TASK_TILES: usize = 16;

thread_local! {
    /// The gradient of a block of filters in the transformed domain.
    static SCRATCH: Cell<AlignedVec> = Cell::default();
}

/// Writes the gradient to `gradient` in the order of [`super::super::weight_gradient`], bias
/// included, overwriting its contents.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub(crate) fn weight_gradient(
    isa: Isa,
    shape: &ConvShape,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
    gradient: &mut [f32],
) {
    let tiling = Tiling::new(shape, dims);
    let (depth, columns) = (shape.in_channels, shape.out_channels);
    let order = weight_gradient::Layout::new(shape);
    assert_eq!(gradient.len(), order.len());
    let wide = columns.next_multiple_of(PANEL);
    let mut bias = vec![0.0f32; wide];
    let tiles = tiling.count();
    let most = BLOCK_LEN / (POINTS * (depth.next_multiple_of(PANEL) + wide));
    let blocks = tiles.div_ceil(most.max(BLOCK_TILES)).max(1);
    for block in 0..blocks {
        let range = tiles * block / blocks..tiles * (block + 1) / blocks;
        let from = Layout::panels(range.len(), depth);
        let to = Layout::panels(range.len(), columns);
        let mut seen = arena.take(from.len());
        let mut made = arena.take(to.len());
        let tasks = range.len().div_ceil(TASK_TILES);
        let mut sums = vec![0.0f32; tasks * columns];
        {
            let (seen, made) = (Disjoint::new(&mut seen), Disjoint::new(&mut made));
            sums.par_chunks_mut(columns.max(1))
                .enumerate()
                .for_each(|(task, sums)| {
                    let first = range.len() * task / tasks;
                    let end = range.len() * (task + 1) / tasks;
                    let tiles = range.start + first..range.start + end;
                    let gather = Gather {
                        map: Input,
                        tiling: &tiling,
                        values: input,
                        channels: depth,
                        tiles: tiles.clone(),
                        layout: from,
                        first,
                        points: seen.start(),
                        sums: &mut [],
                    };
                    let gather_gradient = Gather {
                        map: OutputGradient,
                        tiling: &tiling,
                        values: output_gradient,
                        channels: columns,
                        tiles,
                        layout: to,
                        first,
                        points: made.start(),
                        sums,
                    };
                    // SAFETY: the layouts cover all tiles of the block, the buffers have their
                    // lengths, and tasks have different tiles.
                    unsafe {
                        gather.run(isa);
                        gather_gradient.run(isa);
                    }
                });
        }
        for sums in sums.chunks_exact(columns.max(1)) {
            for (bias, sum) in bias.iter_mut().zip(sums) {
                *bias += sum;
            }
        }
        let shared = Disjoint::new(&mut *gradient);
        let (across, down) = (columns.div_ceil(PANEL), depth.div_ceil(PANEL));
        (0..across * down).into_par_iter().for_each(|task| {
            let part = Part {
                isa,
                tiles: range.len(),
                depth,
                rows: task / across,
                panel: task % across,
                fresh: block == 0,
            };
            part.run((&seen, from), (&made, to), &shared, order);
        });
    }
    for (panel, bias) in bias.chunks_exact(PANEL).enumerate() {
        gradient[order.at(panel, shape.depth())..][..PANEL].copy_from_slice(bias);
    }
}

/// The filters between a block of input channels and a panel of output channels.
#[derive(Clone, Copy)]
struct Part {
    isa: Isa,
    tiles: usize,
    depth: usize,
    /// Index of the block of input channels.
    rows: usize,
    /// Index of the panel of output channels.
    panel: usize,
    /// Whether this is the first block of tiles.
    fresh: bool,
}

impl Part {
    fn run(
        self,
        (seen, from): (&[f32], Layout),
        (made, to): (&[f32], Layout),
        gradient: &Disjoint,
        order: weight_gradient::Layout,
    ) {
        let first = self.rows * PANEL;
        let rows = (self.depth - first).min(PANEL);
        let mut points = SCRATCH.take();
        points.resize(POINTS * PANEL * PANEL);
        points.fill(0.0);
        for point in 0..POINTS {
            let start = point * from.point + self.rows * from.block;
            let seen = &seen[start..start + self.tiles * PANEL];
            let start = point * to.point + self.panel * to.block;
            let outer = Outer {
                values: seen,
                pitch: PANEL,
                rows,
                columns: &made[start..start + self.tiles * PANEL],
                gradient: &mut points[point * PANEL * PANEL..][..rows * PANEL],
                wanted: PANEL,
            };
            outer.run(self.isa);
        }
        for row in 0..rows {
            let lines = std::array::from_fn(|tap| {
                let at = order.at(self.panel, tap * self.depth + first + row);
                // SAFETY: this panel of these rows belongs to this task, and every tap has
                // different rows.
                let line = unsafe { gradient.range(at, PANEL) };
                if self.fresh {
                    line.fill(0.0);
                }
                line
            });
            self.isa.run(AddFilters {
                points: &points,
                row,
                lines,
            });
        }
        SCRATCH.set(points);
    }
}

/// Adds G^T u G for the filters between one input channel and a panel of output channels.
struct AddFilters<'a> {
    /// `[POINTS][PANEL][PANEL]`
    points: &'a [f32],
    /// Index of the input channel in `points`.
    row: usize,
    /// For each tap, `PANEL` values.
    lines: [&'a mut [f32]; 9],
}

impl Op for AddFilters<'_> {
    type Output = ();
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn run<R: Arithmetic>(self) {
        assert!(self.row < PANEL && self.points.len() == POINTS * PANEL * PANEL);
        for line in &self.lines {
            assert_eq!(line.len(), PANEL);
        }
        for lane in (0..PANEL).step_by(R::Vector::LANES) {
            let mut points = [[R::Vector::splat(0.0); IN]; IN];
            for i in 0..IN {
                for j in 0..IN {
                    let at = ((i * IN + j) * PANEL + self.row) * PANEL + lane;
                    // SAFETY: a whole register of a row of PANEL values, by the assertion.
                    points[i][j] =
                        unsafe { R::Vector::load(self.points.as_ptr().add(at), R::Vector::LANES) };
                }
            }
            let filter = FilterGradient::square(&points);
            for i in 0..3 {
                for j in 0..3 {
                    let line = self.lines[3 * i + j].as_mut_ptr();
                    // SAFETY: a whole register of PANEL values, by the assertion.
                    unsafe {
                        let place = line.add(lane);
                        let sum = filter[i][j].add(R::Vector::load(place, R::Vector::LANES));
                        sum.store(place, R::Vector::LANES);
                    }
                }
            }
        }
    }
}
