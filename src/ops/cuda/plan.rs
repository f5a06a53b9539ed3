//! An operation as plain data: the tensors that it makes, and the kernels that it launches on them.

use candle_core::{DType, Shape};

/// Threads of every block; `THREADS` in grid.h.
pub const THREADS: usize = 256;
/// Channels side by side in a sum over pixels; `LANES` in grid.h.
pub(super) const LANES: usize = 32;
/// Blocks of a pass over elements: several for each multiprocessor of the largest cards.
const MOST_BLOCKS: usize = 2048;
/// Blocks of a sum over pixels, about.
const SUM_BLOCKS: usize = 1024;
/// Pixels that are worth a block of their own.
const PART_PIXELS: usize = 256;
/// Places, counts and reals that a kernel takes.
const MOST_ARGUMENTS: usize = 16;

/// What every kernel gets, by value; of the same form in grid.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Arguments {
    /// Addresses; 0 where there is none.
    pub place: [u64; MOST_ARGUMENTS],
    /// Sizes and switches.
    pub count: [i64; MOST_ARGUMENTS],
    /// Numbers.
    pub real: [f64; MOST_ARGUMENTS],
}

/// A tensor that a kernel reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One that the operation is given, read only; a null pointer where it is not given.
    Given(usize),
    /// One that the operation makes.
    Made(usize),
    /// A null pointer.
    Null,
}

/// A tensor that an operation makes, for its caller or for itself.
#[derive(Debug, Clone)]
pub struct Made {
    /// `F32`, `F64` or `U32`.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
}

/// One launch of a kernel.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Blocks, of [`THREADS`] threads each.
    pub blocks: usize,
    /// Its places, in the kernel's order.
    pub places: Vec<Place>,
    /// Its counts.
    pub counts: Vec<usize>,
    /// Its numbers.
    pub reals: Vec<f64>,
}

/// An operation: launches in order, each reading what those before it made.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What it makes; of no certain values before the first launch that writes it.
    pub made: Vec<Made>,
    /// What it launches.
    pub launches: Vec<Launch>,
}

impl Plan {
    /// Makes room for a tensor of single precision.
    pub(super) fn make(&mut self, shape: impl Into<Shape>) -> Place {
        self.make_as(DType::F32, shape)
    }

    /// Makes room for a tensor of another type.
    pub(super) fn make_as(&mut self, dtype: DType, shape: impl Into<Shape>) -> Place {
        let shape = shape.into();
        self.made.push(Made { dtype, shape });
        Place::Made(self.made.len() - 1)
    }

    /// Appends a launch; one of no block is none.
    pub(super) fn launch(
        &mut self,
        kernel: &'static str,
        blocks: usize,
        places: &[Place],
        counts: &[usize],
        reals: &[f64],
    ) {
        if blocks > 0 {
            self.launches.push(Launch {
                kernel,
                blocks,
                places: places.to_vec(),
                counts: counts.to_vec(),
                reals: reals.to_vec(),
            });
        }
    }

    /// Appends a launch over `elements`, of which the first count tells the number or not.
    pub(super) fn over(
        &mut self,
        kernel: &'static str,
        elements: usize,
        places: &[Place],
        counts: &[usize],
        reals: &[f64],
    ) {
        let blocks = elements.div_ceil(THREADS).min(MOST_BLOCKS);
        self.launch(kernel, blocks, places, counts, reals);
    }
}

impl Launch {
    /// The arguments, with addresses for the places.
    ///
    /// # Errors
    /// If it has more arguments than a kernel takes, or a count that its arithmetic of 32 bits
    /// does not.
    pub fn arguments(&self, address: impl Fn(Place) -> u64) -> candle_core::Result<Arguments> {
        let longest = (self.places.len())
            .max(self.counts.len())
            .max(self.reals.len());
        if longest > MOST_ARGUMENTS || self.blocks > i32::MAX as usize {
            candle_core::bail!("the kernel `{}` cannot take {self:?}", self.kernel);
        }
        let mut all = Arguments {
            place: [0; MOST_ARGUMENTS],
            count: [0; MOST_ARGUMENTS],
            real: [0.0; MOST_ARGUMENTS],
        };
        for (to, &place) in all.place.iter_mut().zip(&self.places) {
            *to = address(place);
        }
        for (to, &count) in all.count.iter_mut().zip(&self.counts) {
            if count > i32::MAX as usize {
                candle_core::bail!(
                    "the kernel `{}` takes counts below 2^31, not {count}: use smaller batches",
                    self.kernel
                );
            }
            *to = count as i64;
        }
        for (to, &real) in all.real.iter_mut().zip(&self.reals) {
            *to = real;
        }
        Ok(all)
    }
}

/// Groups of channels that lie side by side in a sum over pixels.
pub(super) fn groups(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Parts in which a sum over `pixels` is taken, by the shape alone, where each part takes `groups`
/// blocks.
pub(super) fn parts(pixels: usize, groups: usize) -> usize {
    let enough = (SUM_BLOCKS / groups.max(1)).max(1);
    pixels.div_ceil(PART_PIXELS).clamp(1, enough)
}
