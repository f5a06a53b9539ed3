//! Parameters as constants of an ONNX graph.

use candle_core::{DType, Tensor};

use super::names::published;
use super::parameters::Parameter;
use crate::error::Result;
use crate::onnx::{Graph, Value};

/// Adds a parameter, bit for bit, under its published name.
pub(super) fn constant(graph: &mut Graph, parameter: &Parameter) -> Result<Value> {
    let (name, values) = (published(&parameter.name), parameter.values()?);
    Ok(graph.floats(&name, parameter.var.dims(), values))
}

/// Adds a tensor derived from a parameter, under the parameter's name and the name of the
/// derivation.
pub(super) fn derived(
    graph: &mut Graph,
    parameter: &Parameter,
    what: &str,
    tensor: &Tensor,
) -> Result<Value> {
    let name = format!("{}/{what}", published(&parameter.name));
    let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
    Ok(graph.floats(&name, tensor.dims(), values))
}

/// Maps `[..., in]` to `[..., out]` with a weight `[out, in]` and a bias `[out]`.
pub(super) fn linear(
    graph: &mut Graph,
    x: &Value,
    weight: &Parameter,
    bias: Option<&Parameter>,
) -> Result<Value> {
    product(graph, x, (weight, &weight.var), bias)
}

/// [`linear`] with a `matrix` `[out, in]` that was derived from the parameter `weight`.
pub(super) fn product(
    graph: &mut Graph,
    x: &Value,
    (weight, matrix): (&Parameter, &Tensor),
    bias: Option<&Parameter>,
) -> Result<Value> {
    let turned = derived(graph, weight, "transposed", &matrix.t()?)?;
    let product = graph.matrix_product(x, &turned);
    Ok(match bias {
        Some(bias) => {
            let bias = constant(graph, bias)?;
            graph.add(&product, &bias)
        }
        None => product,
    })
}
