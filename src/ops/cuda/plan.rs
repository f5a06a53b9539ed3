//! An operation as plain data: the tensors that it creates and the kernels that it launches on
//! them.

use candle_core::{DType, Shape};

/// Number of threads of every block; `THREADS` in grid.h.
pub const THREADS: usize = 256;
/// Number of adjacent channels in a sum over pixels; `LANES` in grid.h.
pub(super) const LANES: usize = 32;
/// Maximum number of blocks of a pass over elements: several for each multiprocessor of the largest
/// cards.
const MOST_BLOCKS: usize = 2048;
/// Approximate maximum number of blocks of a sum over pixels.
const SUM_BLOCKS: usize = 1024;
/// Number of pixels that justify a block of their own.
const PART_PIXELS: usize = 256;
/// Maximum number of places, counts and reals each that a kernel takes.
const MOST_ARGUMENTS: usize = 16;

/// The arguments of every kernel, passed by value; same layout as in grid.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Arguments {
    /// Addresses of tensors; 0 for none.
    pub place: [u64; MOST_ARGUMENTS],
    /// Sizes and flags.
    pub count: [i64; MOST_ARGUMENTS],
    /// Floating-point parameters.
    pub real: [f64; MOST_ARGUMENTS],
}

/// A tensor that a kernel reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A read-only tensor given to the operation; a null pointer if it was not given.
    Given(usize),
    /// A tensor created by the operation.
    Made(usize),
    /// A null pointer.
    Null,
}

/// A tensor that an operation creates, for its caller or for internal use.
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
    /// Number of blocks, of [`THREADS`] threads each.
    pub blocks: usize,
    /// The places, in the kernel's order.
    pub places: Vec<Place>,
    /// The counts.
    pub counts: Vec<usize>,
    /// The floating-point parameters.
    pub reals: Vec<f64>,
}

/// An operation: launches in order, each of which may read the results of the previous ones.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The tensors that it creates; their values are unspecified until the first launch that writes
    /// them.
    pub made: Vec<Made>,
    /// The launches.
    pub launches: Vec<Launch>,
}

impl Plan {
    /// Adds a tensor of single precision to those created.
    pub(super) fn make(&mut self, shape: impl Into<Shape>) -> Place {
        self.make_as(DType::F32, shape)
    }

    /// Adds a tensor of another type to those created.
    pub(super) fn make_as(&mut self, dtype: DType, shape: impl Into<Shape>) -> Place {
        let shape = shape.into();
        self.made.push(Made { dtype, shape });
        Place::Made(self.made.len() - 1)
    }

    /// Appends a launch, unless it has no blocks.
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

    /// Appends a launch over `elements` elements, whose number need not be the first count.
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
    /// Returns the arguments, with addresses for the places.
    ///
    /// # Errors
    /// If there are more arguments than a kernel takes, or a count exceeds the kernels' 32-bit
    /// arithmetic.
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

/// Returns the number of groups of adjacent channels in a sum over pixels.
pub(super) fn groups(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Returns the number of parts in which a sum over `pixels` is computed, depending on the shape
/// alone; each part takes `groups` blocks.
pub(super) fn parts(pixels: usize, groups: usize) -> usize {
    let enough = (SUM_BLOCKS / groups.max(1)).max(1);
    pixels.div_ceil(PART_PIXELS).clamp(1, enough)
}
