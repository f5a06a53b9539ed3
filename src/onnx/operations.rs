//! The operations that networks are written in, each a node or a few. Their meaning is that of the
//! opset [`super::OPSET`]: <https://onnx.ai/onnx/operators/>.

use super::graph::{Attribute, Graph, Value};

use Attribute::{Float, Whole, Wholes};

/// A window that slides over maps.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Rows and columns.
    pub kernel: usize,
    /// Pixels from one place to the next.
    pub stride: usize,
    /// Rows above, columns to the left, rows below, columns to the right that are added.
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

/// The sigmoid's slope and value at 0 where it is made of straight lines.
const HARD_SIGMOID: [(&str, Attribute); 2] = [("alpha", Float(1.0 / 6.0)), ("beta", Float(0.5))];

impl Graph {
    /// The sum; sides of 1 are repeated, as in all that takes two tensors.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], &[])
    }

    /// The difference.
    pub fn subtract(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], &[])
    }

    /// The product, element by element.
    pub fn multiply(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], &[])
    }

    /// The quotient.
    pub fn divide(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], &[])
    }

    /// Each element times a number.
    pub fn times(&mut self, x: &Value, factor: f64) -> Value {
        let factor = self.number(factor as f32);
        self.multiply(x, &factor)
    }

    /// A number added to each element.
    pub fn plus(&mut self, x: &Value, addend: f64) -> Value {
        let addend = self.number(addend as f32);
        self.add(x, &addend)
    }

    /// The product of matrices `[..., rows, inner]` and `[..., inner, columns]`.
    pub fn matrix_product(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], &[])
    }

    /// `[rows, in]` -> `[rows, out]` by a weight `[out, in]`, whose product is scaled, and a bias
    /// `[out]`.
    pub fn linear(&mut self, x: &Value, weight: &Value, bias: Option<&Value>, scale: f64) -> Value {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        let attributes = [("alpha", Float(scale as f32)), ("transB", Whole(1))];
        self.node("Gemm", &inputs, &attributes)
    }

    /// A convolution of maps by a weight `[out, in / groups, kernel, kernel]`.
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

    /// A batch norm: scale, shift, mean and variance of each channel, the second side.
    pub fn batch_norm(&mut self, x: &Value, of_channel: [&Value; 4], epsilon: f64) -> Value {
        let [scale, shift, mean, variance] = of_channel;
        let inputs = [x, scale, shift, mean, variance];
        let attributes = [("epsilon", Float(epsilon as f32))];
        self.node("BatchNormalization", &inputs, &attributes)
    }

    /// A norm over the last side.
    pub fn layer_norm(&mut self, x: &Value, scale: &Value, shift: &Value, epsilon: f64) -> Value {
        let attributes = [("axis", Whole(-1)), ("epsilon", Float(epsilon as f32))];
        self.node("LayerNormalization", &[x, scale, shift], &attributes)
    }

    /// The largest of each window of maps.
    pub fn max_pool(&mut self, maps: &Value, window: &Window) -> Value {
        self.node("MaxPool", &[maps], &window.attributes())
    }

    /// The mean of each window of maps.
    pub fn average_pool(&mut self, maps: &Value, window: &Window) -> Value {
        self.node("AveragePool", &[maps], &window.attributes())
    }

    /// The mean of each channel of maps, as maps of one pixel.
    pub fn global_average(&mut self, maps: &Value) -> Value {
        self.node("GlobalAveragePool", &[maps], &[])
    }

    /// Everything but the first side as one.
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.node("Flatten", &[x], &[("axis", Whole(1))])
    }

    /// Another shape; a side of 0 stays what it is, one of -1 is what remains.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.wholes(shape);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// The sides in another order.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Wholes(order.to_vec()))])
    }

    /// Tensors one after the other along a side.
    pub fn join(&mut self, tensors: &[&Value], side: i64) -> Value {
        self.node("Concat", tensors, &[("axis", Whole(side))])
    }

    /// Entry `index` along a side, which vanishes.
    pub fn pick(&mut self, x: &Value, index: i64, side: i64) -> Value {
        let index = self.whole(index);
        self.node("Gather", &[x, &index], &[("axis", Whole(side))])
    }

    /// The entries `from..to` along a side.
    pub fn part(&mut self, x: &Value, from: usize, to: usize, side: i64) -> Value {
        let (from, to, side) = (
            self.wholes(&[from as i64]),
            self.wholes(&[to as i64]),
            self.wholes(&[side]),
        );
        self.node("Slice", &[x, &from, &to, &side], &[])
    }

    /// `x` `[...]`, repeated for each picture of the batch that is the first side of `like`:
    /// `[batch, ...]`; `shape` is that of `x`.
    pub fn repeated(&mut self, x: &Value, shape: &[usize], like: &Value) -> Value {
        let first = [("start", Whole(0)), ("end", Whole(1))];
        let batch = self.node("Shape", &[like], &first);
        let sides: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        let sides = self.wholes(&sides);
        let shape = self.join(&[&batch, &sides], 0);
        self.node("Expand", &[x, &shape], &[])
    }

    /// The sum along the last side, which stays with 1.
    pub fn sum_last(&mut self, x: &Value) -> Value {
        let last = self.wholes(&[-1]);
        self.node("ReduceSum", &[x, &last], &[("keepdims", Whole(1))])
    }

    /// The sum along a side, which vanishes.
    pub fn sum(&mut self, x: &Value, side: i64) -> Value {
        let side = self.wholes(&[side]);
        self.node("ReduceSum", &[x, &side], &[("keepdims", Whole(0))])
    }

    /// The mean along a side, which vanishes or stays with 1.
    pub fn mean(&mut self, x: &Value, side: i64, stays: bool) -> Value {
        self.reduced("ReduceMean", x, side, stays)
    }

    /// The largest along a side, which vanishes.
    pub fn largest(&mut self, x: &Value, side: i64) -> Value {
        self.reduced("ReduceMax", x, side, false)
    }

    /// The smallest along a side, which stays with 1.
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

    /// Shares that sum to 1 along a side.
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

    /// x times the normal distribution function of x.
    pub fn gelu(&mut self, x: &Value) -> Value {
        let root = self.number(std::f32::consts::SQRT_2);
        let scaled = self.divide(x, &root);
        let error = self.node("Erf", &[&scaled], &[]);
        let share = self.plus(&error, 1.0);
        let product = self.multiply(x, &share);
        self.times(&product, 0.5)
    }

    /// The hyperbolic tangent.
    pub fn tanh(&mut self, x: &Value) -> Value {
        self.node("Tanh", &[x], &[])
    }

    /// The square root.
    pub fn root(&mut self, x: &Value) -> Value {
        self.node("Sqrt", &[x], &[])
    }

    /// Bytes as numbers of single precision.
    pub fn as_floats(&mut self, x: &Value) -> Value {
        let float = super::graph::Element::Float as i64;
        self.node("Cast", &[x], &[("to", Whole(float))])
    }

    /// A further side of 1 at this place.
    pub fn unsqueeze(&mut self, x: &Value, side: i64) -> Value {
        let side = self.wholes(&[side]);
        self.node("Unsqueeze", &[x, &side], &[])
    }
}
