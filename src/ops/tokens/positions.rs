//! Resampling of position embeddings learned on one grid of patches to another: bicubic
//! interpolation like PyTorch's `interpolate` with `antialias`, and its transpose.

/// Interpolation in one dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampling {
    /// Number of positions of the given grid.
    pub from: usize,
    /// For each position of the new grid: the first given position that contributes, and the
    /// weights from there on.
    pub rows: Vec<(usize, Vec<f32>)>,
}

/// Keys' cubic kernel with the slope -1/2.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

impl Resampling {
    /// Creates the interpolation from `from` to `to` positions; the identity if they are equal.
    pub fn new(from: usize, to: usize) -> Self {
        if from == to {
            let rows = (0..to).map(|place| (place, vec![1.0])).collect();
            return Resampling { from, rows };
        }
        let step = from as f64 / to as f64;
        // When downsampling, the kernel is widened so that every position contributes.
        let widen = step.max(1.0);
        let rows = (0..to).map(|place| {
            let centre = step * (place as f64 + 0.5);
            let first = (centre - 2.0 * widen + 0.5).max(0.0) as usize;
            let end = ((centre + 2.0 * widen + 0.5) as usize).min(from);
            let weights = (first..end).map(|j| cubic((j as f64 - centre + 0.5) / widen));
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|w| (w / sum) as f32).collect())
        });
        Resampling {
            from,
            rows: rows.collect(),
        }
    }

    /// Applies the interpolation along the first dimension of `values` `[from, len]`.
    fn apply(&self, values: &[f32], len: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.rows.len() * len];
        for ((first, weights), out) in self.rows.iter().zip(out.chunks_exact_mut(len.max(1))) {
            let lines = values[first * len..].chunks_exact(len.max(1));
            for (weight, line) in weights.iter().zip(lines) {
                for (o, v) in out.iter_mut().zip(line) {
                    *o += weight * v;
                }
            }
        }
        out
    }

    /// Applies the transpose of [`Resampling::apply`].
    fn apply_transposed(&self, values: &[f32], len: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.from * len];
        for ((first, weights), line) in self.rows.iter().zip(values.chunks_exact(len.max(1))) {
            let lines = out[first * len..].chunks_exact_mut(len.max(1));
            for (weight, out) in weights.iter().zip(lines) {
                for (o, v) in out.iter_mut().zip(line) {
                    *o += weight * v;
                }
            }
        }
        out
    }
}

/// Interpolation of a square grid of positions to another grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    rows: Resampling,
    columns: Resampling,
}

impl Grid {
    /// Creates the interpolation from a square of `side` x `side` positions to `rows` x `columns`.
    pub fn new(side: usize, (rows, columns): (usize, usize)) -> Self {
        Grid {
            rows: Resampling::new(side, rows),
            columns: Resampling::new(side, columns),
        }
    }

    /// Resamples positions `[side * side, channels]` to the new grid, `[rows * columns, channels]`.
    pub fn apply(&self, positions: &[f32], channels: usize) -> Vec<f32> {
        let side = self.rows.from;
        let down = self.rows.apply(positions, side * channels);
        let lines = down.chunks_exact((side * channels).max(1));
        lines
            .flat_map(|line| self.columns.apply(line, channels))
            .collect()
    }

    /// Computes the gradient of the positions from that of the result of [`Grid::apply`].
    pub fn gradient(&self, gradient: &[f32], channels: usize) -> Vec<f32> {
        let lines = gradient.chunks_exact((self.columns.rows.len() * channels).max(1));
        let wide: Vec<f32> = lines
            .flat_map(|line| self.columns.apply_transposed(line, channels))
            .collect();
        self.rows.apply_transposed(&wide, self.rows.from * channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From PyTorch 2.15: interpolate(arange(5.0) ** 2, size, mode="bicubic", antialias=True), with
    /// the other dimension unchanged.
    #[test]
    fn weights_are_pytorchs() {
        let squares: Vec<f32> = (0..5).map(|v| (v * v) as f32).collect();
        for (to, expected) in EXPECTED {
            let found = Resampling::new(5, to).apply(&squares, 1);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{to}: {found} {expected}");
            }
        }
    }

    const EXPECTED: [(usize, &[f32]); 3] = [
        (3, &[0.169_231, 4.195_349, 13.338_462]),
        (5, &[0.0, 1.0, 4.0, 9.0, 16.0]),
        (
            8,
            &[
                -0.071_956, 0.243_749, 1.128_906, 2.847_656, 5.347_656, 8.628_906, 13.488_184,
                16.503_69,
            ],
        ),
    ];

    #[test]
    fn the_gradient_is_the_transpose() {
        let grid = Grid::new(5, (3, 7));
        let value = |index: usize| (index as f32 * 0.7).sin();
        let (channels, x, y): (usize, Vec<f32>, Vec<f32>) = (
            2,
            (0..50).map(value).collect(),
            (60..60 + 42).map(value).collect(),
        );
        let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (there, back) = (grid.apply(&x, channels), grid.gradient(&y, channels));
        assert_eq!((there.len(), back.len()), (42, 50));
        assert!((dot(&there, &y) - dot(&x, &back)).abs() < 1e-4);
        assert!(dot(&there, &y).abs() > 0.1);
    }
}
