//! The register blocks of `blocked`: one vector of channels of several adjacent outputs.

use super::super::vector::Vector;

/// The input of a row of outputs.
pub(super) struct Row<'a> {
    /// The source, from the first row of the window inside the picture.
    pub(super) source: &'a [f32],
    /// Number of values of a row.
    pub(super) line: usize,
    /// Number of channels that are summed.
    pub(super) group: usize,
    /// Number of values from one of these channels to the next.
    pub(super) plane: usize,
    /// Number of weights from one of these channels to the next.
    pub(super) taps_plane: usize,
    /// The taps, from the first row of the window inside the picture.
    pub(super) taps: &'a [f32],
    /// Number of rows of the window inside the picture.
    pub(super) kernel_rows: usize,
    pub(super) blocks: usize,
}

impl Row<'_> {
    /// Writes `[column][lane]`. The key holds the columns of the window, the step and the outputs
    /// of a block.
    #[inline(always)]
    pub(super) fn run_sized<V: Vector>(
        &self,
        key: (usize, usize, usize),
        bias: V,
        output: &mut [f32],
    ) {
        match key {
            (1, 1, size) => self.run_blocks::<V, 1, 1>(size, bias, output),
            (2, 1, size) => self.run_blocks::<V, 2, 1>(size, bias, output),
            (3, 1, size) => self.run_blocks::<V, 3, 1>(size, bias, output),
            (4, 1, size) => self.run_blocks::<V, 4, 1>(size, bias, output),
            (5, 1, size) => self.run_blocks::<V, 5, 1>(size, bias, output),
            (7, 1, size) => self.run_blocks::<V, 7, 1>(size, bias, output),
            (3, 2, size) => self.run_blocks::<V, 3, 2>(size, bias, output),
            (5, 2, size) => self.run_blocks::<V, 5, 2>(size, bias, output),
            (7, 2, size) => self.run_blocks::<V, 7, 2>(size, bias, output),
            _ => unreachable!("a window that is not known"),
        }
    }

    #[inline(always)]
    fn run_blocks<V: Vector, const K: usize, const S: usize>(
        &self,
        size: usize,
        bias: V,
        output: &mut [f32],
    ) {
        match size {
            8 => self.run::<V, K, S, 8>(bias, output),
            7 => self.run::<V, K, S, 7>(bias, output),
            _ => self.run::<V, K, S, 4>(bias, output),
        }
    }

    /// Writes `[column][lane]`, `O` outputs at a time, for a window of `K` columns with step `S`.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn run<V: Vector, const K: usize, const S: usize, const O: usize>(
        &self,
        bias: V,
        output: &mut [f32],
    ) {
        let seen = ((self.blocks * O - 1) * S + K) * V::LANES;
        if let Some(last) = self.kernel_rows.checked_sub(1) {
            let source = (self.group - 1) * self.plane + last * self.line + seen;
            let taps = (self.group - 1) * self.taps_plane + self.kernel_rows * K * V::LANES;
            assert!(self.source.len() >= source && self.taps.len() >= taps);
        }
        assert!(output.len() >= self.blocks * O * V::LANES);
        for block in 0..self.blocks {
            // SAFETY: the last column of the last block ends at `seen` values of a row, and rows
            // and taps have the lengths asserted above.
            unsafe {
                let mut sum = [bias; O];
                let first = self.source.as_ptr().add(block * O * S * V::LANES);
                for place in 0..self.group {
                    let mut row = first.wrapping_add(place * self.plane);
                    let mut taps = self.taps.as_ptr().wrapping_add(place * self.taps_plane);
                    for _ in 0..self.kernel_rows {
                        let mut weights = [V::splat(0.0); K];
                        for kx in 0..K {
                            weights[kx] = V::load(taps.add(kx * V::LANES), V::LANES);
                        }
                        for column in 0..(O - 1) * S + K {
                            let value = V::load(row.add(column * V::LANES), V::LANES);
                            for o in 0..O {
                                if column >= o * S && column - o * S < K {
                                    sum[o] = value.mul_add(weights[column - o * S], sum[o]);
                                }
                            }
                        }
                        row = row.wrapping_add(self.line);
                        taps = taps.wrapping_add(K * V::LANES);
                    }
                }
                let place = output.as_mut_ptr().add(block * O * V::LANES);
                for o in 0..O {
                    sum[o].store(place.add(o * V::LANES), V::LANES);
                }
            }
        }
    }
}
