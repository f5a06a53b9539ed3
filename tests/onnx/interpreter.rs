//! Runs a graph with candle's operations, following the specification of each operator.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};

use super::reader::{File, Node};

/// Returns the outputs of a graph by name, for its one input.
pub(crate) fn run(file: &File, input: &Tensor) -> BTreeMap<String, Tensor> {
    let mut values = file.constants.clone();
    values.insert(file.inputs[0].name.clone(), input.clone());
    for node in &file.nodes {
        let inputs: Vec<&Tensor> = (node.inputs.iter())
            .map(|name| {
                let value = values.get(name);
                value.unwrap_or_else(|| panic!("`{name}` is read before it is made"))
            })
            .collect();
        let output = apply(node, &inputs).unwrap_or_else(|e| panic!("{node:?}: {e}"));
        assert_eq!(node.outputs.len(), 1);
        let before = values.insert(node.outputs[0].clone(), output);
        assert!(before.is_none(), "{} is made twice", node.outputs[0]);
    }
    let outputs = file.outputs.iter();
    outputs
        .map(|output| (output.name.clone(), values[&output.name].clone()))
        .collect()
}

/// Returns the numbers of a constant.
fn numbers(tensor: &Tensor) -> Vec<i64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

impl Node {
    fn whole(&self, name: &str) -> i64 {
        self.wholes[name][0]
    }

    /// Returns a dimension of a tensor, counted from the end if it is negative.
    fn side(&self, name: &str, x: &Tensor) -> usize {
        side(self.whole(name), x)
    }
}

fn side(number: i64, x: &Tensor) -> usize {
    usize::try_from(number).unwrap_or_else(|_| x.rank() - number.unsigned_abs() as usize)
}

fn apply(node: &Node, inputs: &[&Tensor]) -> Result<Tensor> {
    let x = inputs[0];
    match node.operation.as_str() {
        "Identity" => Ok(x.clone()),
        "Add" => x.broadcast_add(inputs[1]),
        "Sub" => x.broadcast_sub(inputs[1]),
        "Mul" => x.broadcast_mul(inputs[1]),
        "Div" => x.broadcast_div(inputs[1]),
        "MatMul" => x.contiguous()?.broadcast_matmul(&inputs[1].contiguous()?),
        "Gemm" => {
            assert_eq!(node.whole("transB"), 1);
            let product = x.matmul(&inputs[1].t()?)?;
            let product = (product * f64::from(node.floats["alpha"]))?;
            match inputs.get(2) {
                Some(bias) => product.broadcast_add(bias),
                None => Ok(product),
            }
        }
        "Conv" => convolution(node, inputs),
        "BatchNormalization" => batch_norm(node, inputs),
        "LayerNormalization" => {
            assert_eq!(node.whole("axis"), -1);
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
            let deviation = (variance + f64::from(node.floats["epsilon"]))?.sqrt()?;
            let normed = centred.broadcast_div(&deviation)?;
            normed.broadcast_mul(inputs[1])?.broadcast_add(inputs[2])
        }
        "MaxPool" => padded(node, x, -1e30)?
            .max_pool2d_with_stride(square(node, "kernel_shape"), square(node, "strides")),
        "AveragePool" => {
            assert_eq!(node.wholes["pads"], [0; 4]);
            x.avg_pool2d_with_stride(square(node, "kernel_shape"), square(node, "strides"))
        }
        "GlobalAveragePool" => x.mean_keepdim((2, 3)),
        "Softmax" => {
            let side = node.side("axis", x);
            let powers = x.broadcast_sub(&x.max_keepdim(side)?)?.exp()?;
            powers.broadcast_div(&powers.sum_keepdim(side)?)
        }
        "Relu" => x.relu(),
        "Clip" => {
            let low = inputs[1].to_scalar::<f32>()?;
            x.clamp(low, inputs[2].to_scalar::<f32>()?)
        }
        "Sigmoid" => (x.neg()?.exp()? + 1.0)?.recip(),
        "HardSigmoid" => {
            let (alpha, beta) = (node.floats["alpha"], node.floats["beta"]);
            ((x * f64::from(alpha))? + f64::from(beta))?.clamp(0f32, 1f32)
        }
        "Erf" => x.erf(),
        "Tanh" => x.tanh(),
        "Sqrt" => x.sqrt(),
        "Cast" => {
            assert_eq!(node.whole("to"), 1);
            x.to_dtype(DType::F32)
        }
        _ => reshaped(node, inputs),
    }
}

/// Runs operators that only move values, and those that work along one dimension.
fn reshaped(node: &Node, inputs: &[&Tensor]) -> Result<Tensor> {
    let x = inputs[0];
    match node.operation.as_str() {
        "Flatten" => x.flatten_from(node.side("axis", x)),
        "Reshape" => {
            let sides = numbers(inputs[1]).into_iter().enumerate();
            let sides: Vec<usize> = sides
                .map(|(place, side)| match side {
                    0 => x.dim(place),
                    side => Ok(usize::try_from(side).unwrap()),
                })
                .collect::<Result<_>>()?;
            x.contiguous()?.reshape(sides)
        }
        "Transpose" => {
            let order = node.wholes["perm"].iter().map(|&side| side as usize);
            x.permute(order.collect::<Vec<_>>())?.contiguous()
        }
        "Concat" => Tensor::cat(inputs, node.side("axis", x)),
        "Gather" => {
            let (side, index) = (node.side("axis", x), numbers(inputs[1])[0]);
            x.narrow(side, index as usize, 1)?.squeeze(side)
        }
        "Slice" => {
            let [from, to, number] = [1, 2, 3].map(|input| numbers(inputs[input])[0]);
            let side = side(number, x);
            // An end beyond the size stands for the size.
            let to = (to as usize).min(x.dim(side)?);
            x.narrow(side, from as usize, to - from as usize)
        }
        "Shape" => {
            let part = node.whole("start") as usize..node.whole("end") as usize;
            let sides = x.dims()[part].iter().map(|&side| side as i64);
            let sides: Vec<i64> = sides.collect();
            let count = sides.len();
            Tensor::from_vec(sides, count, &Device::Cpu)
        }
        "Expand" => {
            let sides = numbers(inputs[1]).into_iter().map(|side| side as usize);
            x.broadcast_as(sides.collect::<Vec<_>>())?.contiguous()
        }
        "Unsqueeze" => x.unsqueeze(numbers(inputs[1])[0] as usize),
        operation => {
            let side = match inputs.get(1) {
                Some(sides) => side(numbers(sides)[0], x),
                None => node.side("axes", x),
            };
            let reduced = match operation {
                "ReduceSum" => x.sum_keepdim(side)?,
                "ReduceMean" => x.mean_keepdim(side)?,
                "ReduceMax" => x.max_keepdim(side)?,
                "ReduceMin" => x.min_keepdim(side)?,
                other => panic!("no operator `{other}` is known here"),
            };
            match node.whole("keepdims") {
                0 => reduced.squeeze(side),
                _ => Ok(reduced),
            }
        }
    }
}

/// Returns the side of a square window.
fn square(node: &Node, name: &str) -> usize {
    let sides = &node.wholes[name];
    assert_eq!(sides[0], sides[1]);
    sides[0] as usize
}

/// Pads maps with a value: rows above, columns to the left, rows below, columns to the right.
fn padded(node: &Node, x: &Tensor, value: f32) -> Result<Tensor> {
    let pads = &node.wholes["pads"];
    let mut padded = x.clone();
    for (side, before, after) in [(2, pads[0], pads[2]), (3, pads[1], pads[3])] {
        let border = |count: i64| {
            let mut sides = padded.dims().to_vec();
            sides[side] = count as usize;
            Tensor::full(value, sides, &Device::Cpu)
        };
        padded = Tensor::cat(&[&border(before)?, &padded, &border(after)?], side)?;
    }
    Ok(padded)
}

fn convolution(node: &Node, inputs: &[&Tensor]) -> Result<Tensor> {
    let (x, stride) = (padded(node, inputs[0], 0.0)?, square(node, "strides"));
    let groups = node.whole("group") as usize;
    let y = x.conv2d(inputs[1], 0, stride, 1, groups)?;
    match inputs.get(2) {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

fn batch_norm(node: &Node, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut sides = vec![1; inputs[0].rank()];
    sides[1] = inputs[1].elem_count();
    let of_channel = |input: usize| inputs[input].reshape(sides.as_slice());
    let deviation = (of_channel(4)? + f64::from(node.floats["epsilon"]))?.sqrt()?;
    let centred = inputs[0].broadcast_sub(&of_channel(3)?)?;
    let normed = centred.broadcast_div(&deviation)?;
    normed
        .broadcast_mul(&of_channel(1)?)?
        .broadcast_add(&of_channel(2)?)
}
