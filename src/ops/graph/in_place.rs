//! Changing tensors in place: on the CPU in one pass over the scalars of several tensors at the same
//! time, elsewhere by candle's operations.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Shape, Tensor, Var};
use rayon::prelude::*;

use super::lazy::{Lazy, Pieces};
use crate::error::Result;

/// What is done to pieces of the tensors that change, in their order, by those of the one that is
/// read.
pub type Pass<'a> = dyn Fn(&mut [&mut [f32]], &[f32]) + Sync + 'a;

/// Changes the tensors of `changed`, all of the type and shape of `read`: on the CPU `pass` does so
/// to pieces of their values, given those of `read`, each scalar for itself; elsewhere `composed`
/// tells their new values, in their order.
///
/// # Errors
/// If the tensors are not contiguous, or not `f32` on the CPU, or an operation fails.
pub fn change(
    changed: &[&Var],
    read: &Lazy,
    pass: &Pass,
    composed: impl FnOnce() -> Result<Vec<Tensor>>,
) -> Result<()> {
    if read.is_served() {
        let changed: Vec<&Tensor> = changed.iter().map(|var| var.as_tensor()).collect();
        return Ok(read.read(|pieces| in_place(&changed, pieces, pass))?);
    }
    for (var, new) in changed.iter().zip(composed()?) {
        var.set(&new)?;
    }
    Ok(())
}

/// Does something to each of the `items`, whose tensors lie on `device`: by all threads where those
/// do the work, else in order.
///
/// # Errors
/// The first one that occurs.
pub fn for_each<T: Sync>(
    items: &[T],
    device: &Device,
    apply: impl Fn(&T) -> Result<()> + Sync + Send,
) -> Result<()> {
    match device.is_cpu() {
        true => items.par_iter().try_for_each(apply),
        false => items.iter().try_for_each(apply),
    }
}

/// Values as a tensor on `device`. They are taken where the tensor can hold them as they are;
/// elsewhere they are copied, and the buffer serves again.
///
/// # Errors
/// If the values do not fill the shape, or the device has no room.
pub fn upload(values: &mut Vec<f32>, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    Ok(match device.is_cpu() {
        true => Tensor::from_vec(std::mem::take(values), shape, device)?,
        false => Tensor::from_slice(values, shape, device)?,
    })
}

/// Calls `pass` on pieces of `changed` (contiguous f32 tensors of the CPU, each its own) and of
/// `read`, all of one length: the pieces of `changed` in their order, then that of `read`.
fn in_place(changed: &[&Tensor], read: &Pieces, pass: &Pass) -> candle_core::Result<()> {
    let body = |values: Vec<&mut [f32]>| each_piece(values, read, pass);
    let Some((first, rest)) = changed.split_first() else {
        return Ok(());
    };
    let open = Open {
        rest,
        above: RefCell::new(Vec::new()),
        body: &body,
    };
    first.inplace_op1(&open)
}

fn each_piece(values: Vec<&mut [f32]>, read: &Pieces, pass: &Pass) {
    let mut values = values;
    let len = read.piece_len();
    if read.len() <= len {
        return read.piece(0, |read| pass(&mut values, read));
    }
    let mut pieces: Vec<Vec<&mut [f32]>> = Vec::new();
    pieces.resize_with(read.len().div_ceil(len), Vec::new);
    for whole in values {
        for (piece, part) in pieces.iter_mut().zip(whole.chunks_mut(len)) {
            piece.push(part);
        }
    }
    (pieces.par_iter_mut().enumerate())
        .for_each(|(index, piece)| read.piece(index, |read| pass(piece, read)));
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
            candle_core::bail!("expected `f32` values")
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
        None => candle_core::bail!("expected contiguous values"),
    }
}
