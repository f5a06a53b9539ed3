//! One pass over the scalars of several tensors of the CPU at the same time, in place.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};
use rayon::prelude::*;

use crate::error::Result;

/// Scalars one task works on: fixed, and each scalar for itself, so that nothing depends on the
/// number of threads.
const CHUNK: usize = 1 << 14;

/// What is done to pieces of the tensors that change, in their order, by those of the one that is
/// read.
type Pass<'a> = dyn Fn(&mut [&mut [f32]], &[f32]) + Sync + 'a;

/// Calls `pass` on pieces of `changed` (contiguous f32 tensors of the CPU, each its own) and of
/// `read`, all of one length: the pieces of `changed` in their order, then that of `read`.
pub(super) fn in_place(changed: &[&Tensor], read: &Tensor, pass: &Pass) -> Result<()> {
    let read = read.contiguous()?;
    let (storage, layout) = read.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(candle_core::Error::msg("expected a tensor of the CPU").into());
    };
    let (start, end) = contiguous(layout)?;
    let read = &storage.as_slice::<f32>()?[start..end];
    let body = |values: Vec<&mut [f32]>| each_piece(values, read, pass);
    let Some((first, rest)) = changed.split_first() else {
        return Ok(());
    };
    let open = Open {
        rest,
        above: RefCell::new(Vec::new()),
        body: &body,
    };
    Ok(first.inplace_op1(&open)?)
}

fn each_piece(values: Vec<&mut [f32]>, read: &[f32], pass: &Pass) {
    let mut values = values;
    if read.len() <= CHUNK {
        return pass(&mut values, read);
    }
    let mut pieces: Vec<Vec<&mut [f32]>> = Vec::new();
    pieces.resize_with(read.len().div_ceil(CHUNK), Vec::new);
    for whole in values {
        for (piece, part) in pieces.iter_mut().zip(whole.chunks_mut(CHUNK)) {
            piece.push(part);
        }
    }
    (pieces.par_iter_mut().zip(read.par_chunks(CHUNK))).for_each(|(piece, read)| pass(piece, read));
}

/// Holds the values of one tensor open while it opens those of the next.
struct Open<'a, 'v> {
    rest: &'a [&'a Tensor],
    above: RefCell<Vec<&'v mut [f32]>>,
    body: &'a dyn Fn(Vec<&mut [f32]>),
}

impl InplaceOp1 for Open<'_, '_> {
    fn name(&self) -> &'static str {
        "fused-pass"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, end) = contiguous(layout)?;
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("the optimiser expects f32 parameters")
        };
        let mut above = self.above.borrow_mut();
        let mut open: Vec<&mut [f32]> = above.iter_mut().map(|values| &mut **values).collect();
        open.push(&mut values[start..end]);
        match self.rest {
            [] => {
                (self.body)(open);
                Ok(())
            }
            [next, rest @ ..] => next.inplace_op1(&Open {
                rest,
                above: RefCell::new(open),
                body: self.body,
            }),
        }
    }
}

fn contiguous(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("the optimiser expects contiguous parameters"),
    }
}
