//! Multi-head self-attention among the tokens of a picture, and its gradient.
//!
//! With queries, keys and values `[tokens, width]` of a head, attention is
//! `softmax(queries keys^T / sqrt(width)) values`. A task is one head of one picture. It processes
//! the queries in blocks: the probabilities of a block stay in cache, and the full matrix of tokens
//! times tokens is never written. The backward pass recomputes the probabilities, which is cheaper
//! than fetching them from memory.

mod softmax;

use std::cell::RefCell;

use rayon::prelude::*;

use super::buffer::AlignedVec;
use super::disjoint::Disjoint;
use super::isa::Isa;
use super::matrix::{Rows, multiply, pack, pack_transposed, panels_len};
use super::tile::{Outer, PANEL};
use softmax::{Scores, Softmax};

/// Number of queries of a block: whole register tiles of the widest instruction set.
const QUERIES: usize = 56;
/// Number of values of a cache line.
const LINE: usize = 16;

/// The geometry of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of channels of the output, and of queries, keys and values each.
    pub channels: usize,
    /// Number of heads, which divide the channels among themselves.
    pub heads: usize,
}

impl AttentionShape {
    /// Returns the number of channels of a head.
    pub fn width(&self) -> usize {
        self.channels / self.heads
    }

    /// Returns the factor on the dot products of queries and keys.
    pub fn scale(&self) -> f32 {
        (1.0 / (self.width() as f64).sqrt()) as f32
    }

    fn check(&self, tokens: usize, len: usize) -> usize {
        assert!(self.heads > 0 && self.channels.is_multiple_of(self.heads));
        let picture = tokens * self.channels;
        assert!(picture > 0 && len.is_multiple_of(3 * picture));
        len / (3 * picture)
    }
}

/// Scratch memory of a task.
#[derive(Default)]
struct Scratch {
    keys_transposed: AlignedVec,
    keys: AlignedVec,
    values_transposed: AlignedVec,
    values: AlignedVec,
    /// Probabilities of a block, `[queries][pitch]`.
    scores: AlignedVec,
    /// Gradients of these.
    slopes: AlignedVec,
    /// Output of a block.
    out: AlignedVec,
    /// Right factor of the products with the probabilities of a block.
    columns: AlignedVec,
    /// Gradients of keys and values, `[panels][tokens][PANEL]`.
    keys_gradient: AlignedVec,
    values_gradient: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes the attention of `projected` `[batch, tokens, 3 * channels]` (queries, keys, values) to
/// `output` `[batch, tokens, channels]`.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn forward(
    isa: Isa,
    shape: &AttentionShape,
    tokens: usize,
    projected: &[f32],
    output: &mut [f32],
) {
    if projected.is_empty() {
        return;
    }
    let batch = shape.check(tokens, projected.len());
    assert_eq!(output.len(), batch * tokens * shape.channels);
    let output = Disjoint::new(output);
    (0..batch * shape.heads).into_par_iter().for_each(|task| {
        let head = Head::new(isa, shape, tokens, projected, task);
        SCRATCH.with_borrow_mut(|scratch| head.forward(&output, scratch));
    });
}

/// Computes the gradient of `projected` from that of the output and writes it to `out`.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn gradient(
    isa: Isa,
    shape: &AttentionShape,
    tokens: usize,
    projected: &[f32],
    gradient: &[f32],
    out: &mut [f32],
) {
    assert_eq!(projected.len(), out.len());
    if projected.is_empty() {
        return;
    }
    let batch = shape.check(tokens, projected.len());
    assert_eq!(gradient.len(), batch * tokens * shape.channels);
    let out = Disjoint::new(out);
    (0..batch * shape.heads).into_par_iter().for_each(|task| {
        let head = Head::new(isa, shape, tokens, projected, task);
        SCRATCH.with_borrow_mut(|scratch| head.backward(gradient, &out, scratch));
    });
}

/// One head of one picture.
#[derive(Clone, Copy)]
struct Head<'a> {
    isa: Isa,
    tokens: usize,
    /// Number of channels of a head, and of all heads.
    width: usize,
    channels: usize,
    scale: f32,
    /// Queries, keys and values of all heads of the picture.
    projected: &'a [f32],
    /// Index of the picture's first token in the batch, and of the head's first channel.
    first_token: usize,
    first_channel: usize,
}

impl<'a> Head<'a> {
    fn new(
        isa: Isa,
        shape: &AttentionShape,
        tokens: usize,
        projected: &'a [f32],
        task: usize,
    ) -> Self {
        let (picture, head) = (task / shape.heads, task % shape.heads);
        let len = tokens * 3 * shape.channels;
        Head {
            isa,
            tokens,
            width: shape.width(),
            channels: shape.channels,
            scale: shape.scale(),
            projected: &projected[picture * len..(picture + 1) * len],
            first_token: picture * tokens,
            first_channel: head * shape.width(),
        }
    }

    /// Returns the queries (0), keys (1) or values (2) of the head for `count` tokens from `first`.
    fn part(&self, which: usize, first: usize, count: usize) -> Rows<'a> {
        let pitch = 3 * self.channels;
        let start = first * pitch + which * self.channels + self.first_channel;
        Rows {
            values: &self.projected[start..],
            pitch,
            count,
            run: self.width,
        }
    }

    /// Returns the gradients of the output for `count` tokens from `first`.
    fn gradients(&self, gradient: &'a [f32], first: usize, count: usize) -> Rows<'a> {
        let start = (self.first_token + first) * self.channels + self.first_channel;
        Rows {
            values: &gradient[start..],
            pitch: self.channels,
            count,
            run: self.width,
        }
    }

    /// Returns the number of values from one row of probabilities to the next.
    fn pitch(&self) -> usize {
        self.tokens.next_multiple_of(LINE)
    }

    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let tokens = self.tokens;
        (0..tokens)
            .step_by(QUERIES)
            .map(move |first| (first, QUERIES.min(tokens - first)))
    }

    /// Computes the probabilities of `count` queries from `first`.
    fn probabilities(&self, first: usize, count: usize, keys: &[f32], scores: &mut [f32]) {
        let queries = self.part(0, first, count);
        multiply(self.isa, queries, keys, self.tokens, scores, self.pitch());
        self.isa.run(Softmax {
            scores,
            pitch: self.pitch(),
            tokens: self.tokens,
        });
    }

    fn forward(&self, output: &Disjoint, s: &mut Scratch) {
        let (tokens, width) = (self.tokens, self.width);
        pack_transposed(self.part(1, 0, tokens), self.scale, &mut s.keys_transposed);
        pack(self.part(2, 0, tokens), &mut s.values);
        for (first, count) in self.blocks() {
            s.scores.resize(count * self.pitch());
            self.probabilities(first, count, &s.keys_transposed, &mut s.scores);
            let rows = Rows {
                values: &s.scores,
                pitch: self.pitch(),
                count,
                run: tokens,
            };
            s.out.resize(count * width);
            multiply(self.isa, rows, &s.values, width, &mut s.out, width);
            for (token, row) in (first..).zip(s.out.chunks_exact(width)) {
                let at = (self.first_token + token) * self.channels + self.first_channel;
                // SAFETY: a head of a picture belongs to one task, and these are its channels.
                unsafe { output.range(at, width) }.copy_from_slice(row);
            }
        }
    }

    /// Computes the gradients. With probabilities P, their gradients G = O V^T (O is the gradient
    /// of the output) and d the row sums of P G, the gradients of the dot products are D = P (G -
    /// d), and those of queries, keys and values are D K, D^T Q and P^T O.
    fn backward(&self, gradient: &[f32], out: &Disjoint, s: &mut Scratch) {
        let (isa, tokens, width, pitch) = (self.isa, self.tokens, self.width, self.pitch());
        pack_transposed(self.part(1, 0, tokens), self.scale, &mut s.keys_transposed);
        pack(self.part(1, 0, tokens), &mut s.keys);
        pack_transposed(self.part(2, 0, tokens), 1.0, &mut s.values_transposed);
        for sums in [&mut s.keys_gradient, &mut s.values_gradient] {
            sums.resize(panels_len(tokens, width));
            sums.fill(0.0);
        }
        for (first, count) in self.blocks() {
            s.scores.resize(count * pitch);
            s.slopes.resize(count * pitch);
            self.probabilities(first, count, &s.keys_transposed, &mut s.scores);
            let gradients = self.gradients(gradient, first, count);
            multiply(
                isa,
                gradients,
                &s.values_transposed,
                tokens,
                &mut s.slopes,
                pitch,
            );
            pack(gradients, &mut s.columns);
            self.add_outer(&s.scores, &s.columns, &mut s.values_gradient);
            isa.run(Scores {
                probabilities: &s.scores,
                slopes: &mut s.slopes,
                pitch,
                tokens,
                scale: self.scale,
            });
            pack(self.part(0, first, count), &mut s.columns);
            self.add_outer(&s.slopes, &s.columns, &mut s.keys_gradient);
            let rows = Rows {
                values: &s.slopes,
                pitch,
                count,
                run: tokens,
            };
            s.out.resize(count * width);
            multiply(isa, rows, &s.keys, width, &mut s.out, width);
            for (token, row) in (first..).zip(s.out.chunks_exact(width)) {
                self.write(out, 0, token, 0, row);
            }
        }
        for (which, sums) in [(1, &s.keys_gradient), (2, &s.values_gradient)] {
            for (panel, lines) in sums.chunks_exact(tokens * PANEL).enumerate() {
                let column = panel * PANEL;
                let wanted = PANEL.min(width - column);
                for (token, line) in lines.chunks_exact(PANEL).enumerate() {
                    self.write(out, which, token, column, &line[..wanted]);
                }
            }
        }
    }

    /// Adds the transpose of a block's `rows` times `columns` to `sums`, one row for each token.
    fn add_outer(&self, rows: &[f32], columns: &[f32], sums: &mut [f32]) {
        let count = rows.len() / self.pitch();
        let columns = columns.chunks_exact(count * PANEL);
        let sums = sums.chunks_exact_mut(self.tokens * PANEL);
        for (panel, (columns, gradient)) in columns.zip(sums).enumerate() {
            let outer = Outer {
                values: rows,
                pitch: self.pitch(),
                rows: self.tokens,
                columns,
                gradient,
                wanted: PANEL.min(self.width - panel * PANEL),
            };
            outer.run(self.isa);
        }
    }

    /// Writes a part of the gradient of a token's query (0), key (1) or value (2).
    fn write(&self, out: &Disjoint, which: usize, token: usize, column: usize, row: &[f32]) {
        let at = ((self.first_token + token) * 3 + which) * self.channels;
        // SAFETY: a head of a picture belongs to one task, and these are its channels.
        let place = unsafe { out.range(at + self.first_channel + column, row.len()) };
        place.copy_from_slice(row);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
