//! In-place updates of tensors: on the CPU in one pass over the scalars of several tensors at once,
//! elsewhere with candle's operations.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Shape, Tensor, Var};
use rayon::prelude::*;

use super::lazy::{Lazy, Pieces};
use crate::error::Result;

/// Updates pieces of the changed tensors, in order, given the corresponding piece of the tensor
/// that is read.
pub type Pass<'a> = dyn Fn(&mut [&mut [f32]], &[f32]) + Sync + 'a;

/// Updates the tensors in `changed`, which have the type and shape of `read`. On the CPU, `pass`
/// updates pieces of their values given the same piece of `read`, treating each scalar
/// independently; elsewhere, `composed` returns their new values, in order.
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

/// Calls `apply` on each of the `items`, whose tensors are on `device`: in parallel if the device
/// is the CPU, otherwise in order.
///
/// # Errors
/// Returns the first error that occurs.
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

/// Creates a tensor on `device` from `values`. On the CPU the tensor takes over the buffer;
/// elsewhere the values are copied and the buffer can be reused.
///
/// # Errors
/// If the number of values does not match the shape, or the device is out of memory.
pub fn upload(values: &mut Vec<f32>, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    Ok(match device.is_cpu() {
        true => Tensor::from_vec(std::mem::take(values), shape, device)?,
        false => Tensor::from_slice(values, shape, device)?,
    })
}

/// Calls `pass` on pieces of `changed` (distinct contiguous f32 tensors on the CPU) and of `read`,
/// all of the same length: the pieces of `changed` in order, then that of `read`.
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

/// Keeps the values of one tensor borrowed while borrowing those of the next.
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
