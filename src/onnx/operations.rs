//! The operations in which networks are expressed, each consisting of one or a few nodes. Their
//! semantics are those of the opset [`super::OPSET`]: <https://onnx.ai/onnx/operators/>.

use super::graph::{Attribute, Graph, Value};

use Attribute::{Float, Whole, Wholes};

/// A window that slides over feature maps.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between positions, in pixels.
    pub stride: usize,
    /// Rows added above, columns to the left, rows below, columns to the right.
    pub padding: [usize; 4],
}

impl Window {
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let (kernel, stride) = (self.kernel as i64, self.stride as i64);
        vec![
            ("kernel_shape", Wholes(vec![kernel; 2])),
            ("strides", Wholes(vec![stride; 2])),
            (
                "pads",
                Wholes(self.padding.map(|side| side as i64).to_vec()),
            ),
        ]
    }
}

/// Slope and offset of the hard sigmoid.
const HARD_SIGMOID: [(&str, Attribute); 2] = [("alpha", Float(1.0 / 6.0)), ("beta", Float(0.5))];

impl Graph {
    /// Adds two tensors, with broadcasting, as in all binary operations.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    /// Subtracts `b` from `a`.
    pub fn subtract(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    /// Multiplies two tensors element by element.
    pub fn multiply(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    /// Divides `a` by `b`.
    pub fn divide(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    /// Multiplies each element by a number.
    pub fn times(&mut self, x: &Value, factor: f64) -> Value {
        let factor = self.number(factor as f32);
        self.multiply(x, &factor)
    }

    /// Adds a number to each element.
    pub fn plus(&mut self, x: &Value, addend: f64) -> Value {
        let addend = self.number(addend as f32);
        self.add(x, &addend)
    }

    /// Multiplies matrices `[..., rows, inner]` and `[..., inner, columns]`.
    pub fn matrix_product(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    /// Applies a linear layer, `[rows, in]` -> `[rows, out]`, with a weight `[out, in]`, whose
    /// product is multiplied by `scale`, and a bias `[out]`.
    pub fn linear(&mut self, x: &Value, weight: &Value, bias: Option<&Value>, scale: f64) -> Value {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        let attributes = [("alpha", Float(scale as f32)), ("transB", Whole(1))];
        self.node("Gemm", &inputs, &attributes)
    }

    /// Convolves maps with a weight `[out, in / groups, kernel, kernel]`.
    pub fn convolution(
        &mut self,
        maps: &Value,
        weight: &Value,
        bias: Option<&Value>,
        window: &Window,
        groups: usize,
    ) -> Value {
        let inputs: Vec<&Value> = [maps, weight].into_iter().chain(bias).collect();
        let mut attributes = window.attributes();
        attributes.push(("group", Whole(groups as i64)));
        self.node("Conv", &inputs, &attributes)
    }

    /// Applies batch normalisation with scale, shift, mean and variance of each channel (dimension
    /// 1).
    pub fn batch_norm(&mut self, x: &Value, of_channel: [&Value; 4], epsilon: f64) -> Value {
        let [scale, shift, mean, variance] = of_channel;
        let inputs = [x, scale, shift, mean, variance];
        let attributes = [("epsilon", Float(epsilon as f32))];
        self.node("BatchNormalization", &inputs, &attributes)
    }

    /// Applies layer normalisation over the last dimension.
    pub fn layer_norm(&mut self, x: &Value, scale: &Value, shift: &Value, epsilon: f64) -> Value {
        let attributes = [("axis", Whole(-1)), ("epsilon", Float(epsilon as f32))];
        self.node("LayerNormalization", &[x, scale, shift], &attributes)
    }

    /// Takes the maximum of each window of maps.
    pub fn max_pool(&mut self, maps: &Value, window: &Window) -> Value {
        self.node("MaxPool", &[maps], &window.attributes())
    }

    /// Takes the mean of each window of maps.
    pub fn average_pool(&mut self, maps: &Value, window: &Window) -> Value {
        self.node("AveragePool", &[maps], &window.attributes())
    }

    /// Takes the mean of each channel of maps, as maps of one pixel.
    pub fn global_average(&mut self, maps: &Value) -> Value {
        self.node("GlobalAveragePool", &[maps], &[])
    }

    /// Merges all dimensions except the first.
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.node("Flatten", &[x], &[("axis", Whole(1))])
    }

    /// Changes the shape; a size of 0 keeps the dimension, -1 is inferred.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.wholes(shape);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// Permutes the dimensions.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Wholes(order.to_vec()))])
    }

    /// Concatenates tensors along a dimension.
    pub fn join(&mut self, tensors: &[&Value], side: i64) -> Value {
        self.node("Concat", tensors, &[("axis", Whole(side))])
    }

    /// Selects entry `index` along a dimension, which is removed.
    pub fn pick(&mut self, x: &Value, index: i64, side: i64) -> Value {
        let index = self.whole(index);
        self.node("Gather", &[x, &index], &[("axis", Whole(side))])
    }

    /// Selects the entries `from..to` along a dimension.
    pub fn part(&mut self, x: &Value, from: usize, to: usize, side: i64) -> Value {
        let (from, to, side) = (
            self.wholes(&[from as i64]),
            self.wholes(&[to as i64]),
            self.wholes(&[side]),
        );
        self.node("Slice", &[x, &from, &to, &side], &[])
    }

    /// Repeats `x` for each picture of the batch, whose size is the first dimension of `like`,
    /// resulting in `[batch, ...]`. `shape` is the shape of `x`.
    pub fn repeated(&mut self, x: &Value, shape: &[usize], like: &Value) -> Value {
        let first = [("start", Whole(0)), ("end", Whole(1))];
        let batch = self.node("Shape", &[like], &first);
        let sides: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        let sides = self.wholes(&sides);
        let shape = self.join(&[&batch, &sides], 0);
        self.node("Expand", &[x, &shape], &[])
    }

    /// Sums over the last dimension, which is kept with size 1.
    pub fn sum_last(&mut self, x: &Value) -> Value {
        let last = self.wholes(&[-1]);
        self.node("ReduceSum", &[x, &last], &[("keepdims", Whole(1))])
    }

    /// Sums over a dimension, which is removed.
    pub fn sum(&mut self, x: &Value, side: i64) -> Value {
        let side = self.wholes(&[side]);
        self.node("ReduceSum", &[x, &side], &[("keepdims", Whole(0))])
    }

    /// Takes the mean over a dimension, which is kept with size 1 if `stays` is set, else removed.
    pub fn mean(&mut self, x: &Value, side: i64, stays: bool) -> Value {
        self.reduced("ReduceMean", x, side, stays)
    }

    /// Takes the maximum over a dimension, which is removed.
    pub fn largest(&mut self, x: &Value, side: i64) -> Value {
        self.reduced("ReduceMax", x, side, false)
    }

    /// Takes the minimum over a dimension, which is kept with size 1.
    pub fn smallest(&mut self, x: &Value, side: i64) -> Value {
        self.reduced("ReduceMin", x, side, true)
    }

    fn reduced(&mut self, operation: &str, x: &Value, side: i64, stays: bool) -> Value {
        let attributes = [
            ("axes", Wholes(vec![side])),
            ("keepdims", Whole(i64::from(stays))),
        ];
        self.node(operation, &[x], &attributes)
    }

    /// Applies softmax along a dimension.
    pub fn softmax(&mut self, x: &Value, side: i64) -> Value {
        self.node("Softmax", &[x], &[("axis", Whole(side))])
    }

    /// max(x, 0).
    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", &[x], &[])
    }

    /// min(max(x, low), high).
    pub fn clip(&mut self, x: &Value, low: f64, high: f64) -> Value {
        let (low, high) = (self.number(low as f32), self.number(high as f32));
        self.node("Clip", &[x, &low, &high], &[])
    }

    /// 1 / (1 + exp(-x)).
    pub fn sigmoid(&mut self, x: &Value) -> Value {
        self.node("Sigmoid", &[x], &[])
    }

    /// min(max(x + 3, 0), 6) / 6.
    pub fn hard_sigmoid(&mut self, x: &Value) -> Value {
        self.node("HardSigmoid", &[x], &HARD_SIGMOID)
    }

    /// x times the cumulative distribution function of the standard normal distribution at x.
    pub fn gelu(&mut self, x: &Value) -> Value {
        let root = self.number(std::f32::consts::SQRT_2);
        let scaled = self.divide(x, &root);
        let error = self.node("Erf", &[&scaled], &[]);
        let share = self.plus(&error, 1.0);
        let product = self.multiply(x, &share);
        self.times(&product, 0.5)
    }

    /// Applies the hyperbolic tangent.
    pub fn tanh(&mut self, x: &Value) -> Value {
        self.node("Tanh", &[x], &[])
    }

    /// Takes the square root.
    pub fn root(&mut self, x: &Value) -> Value {
        self.node("Sqrt", &[x], &[])
    }

    /// Converts to single precision.
    pub fn as_floats(&mut self, x: &Value) -> Value {
        let float = super::graph::Element::Float as i64;
        self.node("Cast", &[x], &[("to", Whole(float))])
    }

    /// Inserts a dimension of size 1 at this position.
    pub fn unsqueeze(&mut self, x: &Value, side: i64) -> Value {
        let side = self.wholes(&[side]);
        self.node("Unsqueeze", &[x, &side], &[])
    }
}
