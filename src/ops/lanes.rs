//! Reductions of a slice in several parallel lanes, in an order that depends only on its length.

/// Number of parallel sums.
const LANES: usize = 32;

/// Reduces both slices with `add(value, other, sum)` from `start` in separate lanes, then combines
/// the lanes with `join`.
#[inline(always)]
pub(super) fn fold(
    values: &[f32],
    others: &[f32],
    start: f32,
    add: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut sums = [start; LANES];
    let (lines, rest) = values.as_chunks::<LANES>();
    let (other_lines, other_rest) = others.as_chunks::<LANES>();
    for (line, other) in lines.iter().zip(other_lines) {
        for lane in 0..LANES {
            sums[lane] = add(line[lane], other[lane], sums[lane]);
        }
    }
    for (lane, (&value, &other)) in rest.iter().zip(other_rest).enumerate() {
        sums[lane] = add(value, other, sums[lane]);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] = join(sums[lane], sums[lane + width]);
        }
    }
    sums[0]
}

/// Like [`fold`], for a sum.
#[inline(always)]
pub(super) fn sum(values: &[f32], others: &[f32], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    fold(values, others, 0.0, add, |a, b| a + b)
}
