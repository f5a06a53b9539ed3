//! Nodes without kernels of their own. Each gets a small graph of candle's operations, built by the
//! functions of the composed executor, whose layout is `[batch, channels, height, width]`.

use candle_core::{Tensor, Var};

use super::super::composed;
use super::super::layers::Layer;
use crate::error::Result;
use crate::model::parameters::{Gradients, Role};

/// The graph of a node.
#[derive(Debug)]
pub(super) struct Record {
    input: Var,
    second: Option<Var>,
    output: Tensor,
}

fn channels_first(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.permute((0, 3, 1, 2))?.contiguous()?)
}

/// Returns the output, outside any graph.
pub(super) fn evaluate(layer: &Layer, input: &Tensor, second: Option<&Tensor>) -> Result<Tensor> {
    let input = channels_first(input)?;
    let second = second.map(channels_first).transpose()?;
    let output = composed::apply(layer, &input, second.as_ref(), false)?;
    Ok(output.detach().permute((0, 2, 3, 1))?.contiguous()?)
}

/// Returns the output and its graph.
pub(super) fn forward(
    layer: &Layer,
    input: &Tensor,
    second: Option<&Tensor>,
) -> Result<(Tensor, Record)> {
    let input = Var::from_tensor(input)?;
    let second = second.map(Var::from_tensor).transpose()?;
    let beside = second.as_deref().map(channels_first).transpose()?;
    let output = composed::apply(layer, &channels_first(&input)?, beside.as_ref(), false)?;
    let output = output.permute((0, 2, 3, 1))?.contiguous()?;
    let record = Record {
        input,
        second,
        output: output.clone(),
    };
    Ok((output.detach(), record))
}

/// Returns the gradients of the input and of the second node; those of the trainable parameters are
/// stored in `gradients`.
pub(super) fn backward(
    layer: &Layer,
    record: &Record,
    gradient: &Tensor,
    gradients: &mut Gradients,
) -> Result<[Option<Tensor>; 2]> {
    let loss = (&record.output * gradient.detach())?.sum_all()?;
    let found = loss.backward()?;
    let learning = layer.parameters().into_iter();
    gradients.take_from(&found, learning.filter(|p| p.role == Role::Trainable));
    let of = |var: &Var| found.get(var).map(Tensor::contiguous).transpose();
    let of_second = match &record.second {
        Some(second) => of(second)?,
        None => None,
    };
    Ok([of(&record.input)?, of_second])
}
