//! The sliding-window matrix product that underlies every dense convolution, forward and backward.
//!
//! No im2col matrix is written and nothing is copied: for every pixel of a register tile, a table
//! holds one pointer to each contiguous piece of what its window covers (a row of zeros stands in
//! for the padding). Bias, residual, activation and mask are applied in registers before the
//! results are stored, so the destination is written only once.

use std::cell::RefCell;
use std::ops::Range;
use std::slice::from_raw_parts;

use rayon::prelude::*;

use super::activation::Activation;
use super::buffer::{AlignedVec, Arena, Buffer};
use super::disjoint::Disjoint;
use super::isa::Isa;
use super::tile::{MAX_ROWS, PANEL, Product};
use super::window::Window;

/// Number of weights of a group of panels, which stay in the L2 cache while the tiles of a task
/// pass over them.
const GROUP_LEN: usize = 128 * 1024;
/// Maximum number of tiles of a task; their inputs should stay in L2 as well.
const TASK_TILES: usize = 16;
/// A problem is split into at least this many tasks, if it is large enough.
const TASKS: usize = 8;
/// Maximum length of a sum over one piece that is taken in one go. Longer ones are split, so that
/// the inputs of a tile's rows are still in the L1 cache when the next panel needs them.
const LONGEST: usize = 768;
/// Number of values in a memory page.
const PAGE: usize = 1024;
/// Number of values in a cache line.
const LINE: usize = 16;

/// Weights packed as `[columns / PANEL][depth][PANEL]`, with the last panel zero-padded.
#[derive(Debug)]
pub(super) struct Panels {
    data: Buffer,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Packs a `depth` x `columns` matrix; `fill(columns, panel)` writes the values of a range of
    /// columns into a panel `[depth][PANEL]`.
    pub(super) fn pack(
        arena: &Arena,
        depth: usize,
        columns: usize,
        fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) -> Self {
        let mut data = arena.take(columns.div_ceil(PANEL) * depth * PANEL);
        if depth > 0 {
            data.par_chunks_mut(depth * PANEL)
                .enumerate()
                .for_each(|(panel, chunk)| {
                    let first = panel * PANEL;
                    if columns - first < PANEL {
                        chunk.fill(0.0);
                    }
                    fill(first..(first + PANEL).min(columns), chunk);
                });
        }
        Panels {
            data,
            depth,
            columns,
        }
    }

    fn count(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }
}

/// Maps the result of grid position `(n, y, x)` to pixel `(n, y * step + top, x * step + left)` of
/// the destination.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scatter {
    pub height: usize,
    pub width: usize,
    pub step: usize,
    pub top: usize,
    pub left: usize,
    /// First channel of the destination that is written; as many channels are written as there are
    /// results.
    pub first: usize,
    /// Total number of channels of the destination.
    pub pitch: usize,
}

impl Scatter {
    /// Maps positions one to one to the destination's pixels, to channels from `first` on out of
    /// `pitch`.
    pub(super) fn whole(window: &Window, first: usize, pitch: usize) -> Self {
        Scatter {
            height: window.grid_height,
            width: window.grid_width,
            step: 1,
            top: 0,
            left: 0,
            first,
            pitch,
        }
    }
}

/// What is added to a result.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a> {
    /// Nothing.
    None,
    /// A tensor of the destination's shape.
    Tensor(&'a [f32]),
    /// The current contents of the destination.
    Destination,
}

/// Steps applied to a result before it is stored: bias, addend, activation, mask, in this order.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value per channel.
    pub bias: Option<&'a [f32]>,
    /// A residual branch, or the gradient of another branch.
    pub addend: Addend<'a>,
    /// Applied after bias and addend.
    pub activation: Activation,
    /// Multiplies the result by the derivative of this activation, obtained from these values: see
    /// [`Activation::mask`].
    pub mask: Option<(&'a [f32], Activation)>,
}

impl Epilogue<'_> {
    /// Stores the result unchanged.
    pub const PLAIN: Epilogue<'static> = Epilogue {
        bias: None,
        addend: Addend::None,
        activation: Activation::None,
        mask: None,
    };
}

/// Scratch memory of a task.
#[derive(Default)]
struct Scratch {
    /// Pointers to the inputs of the task's pixels.
    pointers: Vec<*const f32>,
    /// Offsets of the first elements of their results.
    offsets: Vec<usize>,
    /// Copies of the inputs of a tile's pixels.
    copies: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Slides `window` over `source`, multiplies what it covers by `panels` and scatters the results
/// over `destination`.
///
/// # Panics
/// If the length of a slice does not match the geometry.
pub(super) fn correlate(
    isa: Isa,
    window: &Window,
    source: &[f32],
    panels: &Panels,
    scatter: &Scatter,
    destination: &mut [f32],
    epilogue: &Epilogue,
) {
    let (depth, columns) = (window.depth(), panels.columns);
    let len = window.batch * scatter.height * scatter.width * scatter.pitch;
    assert_eq!(source.len(), window.source_len());
    assert_eq!(panels.depth, depth);
    assert!(window.first + window.channels <= window.pitch);
    assert!(scatter.first + columns <= scatter.pitch);
    assert_eq!(destination.len(), len);
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == columns));
    assert!(epilogue.mask.is_none_or(|(mask, _)| mask.len() == len));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), len);
    }
    if window.positions() == 0 {
        return;
    }
    let last = |size: usize, first: usize| (size - 1) * scatter.step + first;
    assert!(last(window.grid_height, scatter.top) < scatter.height);
    assert!(last(window.grid_width, scatter.left) < scatter.width);
    assert!(scatter.step > 0);

    let positions = window.positions();
    // Small problems are split further, so that every core has work: by panels where the weights
    // are larger than the source, since every part of the pixels reads all weights again; otherwise
    // by pixels.
    let least = positions.div_ceil(TASK_TILES * isa.rows());
    let parts = match panels.data.len() > source.len() {
        true => least,
        false => least.max(TASKS.min(positions.div_ceil(2 * isa.rows()))),
    };
    let panel_parts = TASKS.div_ceil(parts).min(panels.count());
    let destination = Disjoint::new(destination);
    let task = Task {
        isa,
        window,
        source,
        panels,
        scatter,
        destination: &destination,
        epilogue,
        zeros: &vec![0.0; window.run()],
    };
    (0..parts * panel_parts).into_par_iter().for_each(|index| {
        SCRATCH.with_borrow_mut(|scratch| {
            task.run(
                part(positions, index / panel_parts, parts),
                part(panels.count(), index % panel_parts, panel_parts),
                scratch,
            );
        });
    });
}

/// A part of a piece over which a sum is taken in one go.
struct Cut {
    values: Range<usize>,
    /// Number of values of the whole piece.
    of: usize,
}

impl Cut {
    /// Returns the parts of pieces of `run` values. If there are several pieces they are short and
    /// are not split.
    fn all(taps: usize, run: usize) -> impl Iterator<Item = Cut> {
        let cuts = if taps == 1 {
            run.div_ceil(LONGEST).max(1)
        } else {
            1
        };
        (0..cuts).map(move |index| Cut {
            values: part(run, index, cuts),
            of: run,
        })
    }

    fn is_first(&self) -> bool {
        self.values.start == 0
    }

    fn is_last(&self) -> bool {
        self.values.end == self.of
    }
}

#[derive(Clone, Copy)]
struct Task<'a> {
    isa: Isa,
    window: &'a Window,
    source: &'a [f32],
    panels: &'a Panels,
    scatter: &'a Scatter,
    destination: &'a Disjoint<'a>,
    epilogue: &'a Epilogue<'a>,
    /// Stands in for the padding.
    zeros: &'a [f32],
}

impl Task<'_> {
    /// Computes a range of panels for a range of positions.
    fn run(
        self,
        positions: Range<usize>,
        panels: Range<usize>,
        Scratch {
            pointers,
            offsets,
            copies,
        }: &mut Scratch,
    ) {
        let tiles = positions.len().div_ceil(self.isa.rows());
        let tile = |index: usize| part(positions.len(), index, tiles);
        let taps = self.window.taps();
        self.look_up(positions.clone(), tiles, pointers, offsets);
        for cut in Cut::all(taps, self.window.run()) {
            let group = (GROUP_LEN / (taps * cut.values.len() * PANEL).max(1)).max(1);
            for first in panels.clone().step_by(group) {
                for index in 0..tiles {
                    let rows = tile(index);
                    let table = &pointers[index * taps * MAX_ROWS..][..taps * MAX_ROWS];
                    let panels = first..(first + group).min(panels.end);
                    self.tile(&cut, table, &offsets[rows], panels, copies);
                }
            }
        }
    }

    /// Computes a range of panels for one tile, whose inputs are at the pointers in `table` and
    /// whose results start at `offsets`.
    fn tile(
        &self,
        cut: &Cut,
        table: &[*const f32],
        offsets: &[usize],
        panels: Range<usize>,
        copies: &mut AlignedVec,
    ) {
        let null = std::ptr::null();
        let pointer = |slice: Option<&[f32]>| slice.map_or(null, <[f32]>::as_ptr);
        let epilogue = self.epilogue;
        let destination = self.destination.start();
        let (first, last, run) = (cut.is_first(), cut.is_last(), cut.values.len());
        // The current contents of the destination must be added before the first part of a sum
        // overwrites them.
        let addend = match epilogue.addend {
            Addend::Tensor(tensor) if last => tensor.as_ptr(),
            Addend::Destination if first => destination.cast_const(),
            _ => null,
        };
        let mut near = [null; MAX_ROWS];
        let mut pointers = table.as_ptr();
        // Pixels that lie a multiple of the page size apart map to the same set of the L1 cache and
        // would evict each other: they are copied, with one more cache line between them.
        if self.window.taps() == 1 && cut.of >= PAGE && cut.of.is_multiple_of(PAGE) {
            copies.resize(MAX_ROWS * (run + LINE));
            let copies = copies.chunks_exact_mut(run + LINE);
            for ((place, &seen), copy) in near.iter_mut().zip(&table[..offsets.len()]).zip(copies) {
                // SAFETY: the pointer comes from a slice of `cut.of` values, see below.
                let seen = unsafe { from_raw_parts(seen.add(cut.values.start), run) };
                copy[..run].copy_from_slice(seen);
                *place = copy.as_ptr();
            }
            pointers = near.as_ptr();
        } else if !first {
            for (place, &seen) in near.iter_mut().zip(&table[..offsets.len()]) {
                *place = seen.wrapping_add(cut.values.start);
            }
            pointers = near.as_ptr();
        }
        let mut places = [0; MAX_ROWS];
        places[..offsets.len()].copy_from_slice(offsets);
        let (mask, mask_activation) = epilogue.mask.filter(|_| last).unzip();
        let product = Product {
            pointers,
            rows: offsets.len(),
            taps: self.window.taps(),
            run,
            weights: self.panels.data[cut.values.start * PANEL..].as_ptr(),
            goes_on: !first,
            panel_stride: self.panels.depth * PANEL,
            panels,
            columns: self.panels.columns,
            destination,
            offsets: places,
            bias: pointer(epilogue.bias),
            addend,
            activation: if last {
                epilogue.activation
            } else {
                Activation::None
            },
            mask: pointer(mask),
            mask_activation: mask_activation.unwrap_or(Activation::None),
        };
        // SAFETY: the pointers come from slices of `cut.of` values, of which the cut is a part,
        // that outlive this call; weights, bias, addend and mask have the lengths that `correlate`
        // asserts. The scatter maps different positions to different pixels (its step is at least
        // 1) inside the destination (asserted there too), a position belongs to one tile, a tile to
        // one task, and a panel covers its own channels, so no other thread touches these elements.
        unsafe { product.run(self.isa) };
    }

    /// Records, for every tile, where each tap of each position begins and where the results go.
    fn look_up(
        &self,
        positions: Range<usize>,
        tiles: usize,
        pointers: &mut Vec<*const f32>,
        offsets: &mut Vec<usize>,
    ) {
        let tile = |index: usize| part(positions.len(), index, tiles);
        let taps = self.window.taps();
        pointers.clear();
        pointers.resize(tiles * taps * MAX_ROWS, std::ptr::null());
        offsets.clear();
        let s = self.scatter;
        if self.window.is_identity() && self.scatter.step == 1 {
            let channels = self.window.channels;
            let seen = &self.source[positions.start * channels..positions.end * channels];
            let mut seen = seen.chunks_exact(channels);
            for index in 0..tiles {
                let table = pointers[index * MAX_ROWS..].iter_mut();
                for (place, seen) in table.zip(seen.by_ref().take(tile(index).len())) {
                    *place = seen.as_ptr();
                }
            }
            offsets.extend(positions.map(|pixel| pixel * s.pitch + s.first));
            return;
        }
        let mut position = self.window.position(positions.start);
        for index in 0..tiles {
            let table = &mut pointers[index * taps * MAX_ROWS..][..taps * MAX_ROWS];
            for row in 0..tile(index).len() {
                self.window
                    .taps_of(self.source, self.zeros, position, |tap, seen| {
                        table[tap * MAX_ROWS + row] = seen.as_ptr();
                    });
                let y = position.y * s.step + s.top;
                let pixel = (position.n * s.height + y) * s.width + position.x * s.step + s.left;
                offsets.push(pixel * s.pitch + s.first);
                position = self.window.next(position);
            }
        }
    }
}

/// Returns part `index` of `parts` parts of (nearly) equal size, so that the last one is not almost
/// empty.
fn part(len: usize, index: usize, parts: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}
