//! Builds an ONNX graph: inputs, constants, nodes, outputs.

use std::collections::HashMap;
use std::sync::Arc;

use super::protobuf::Message;

/// A tensor of the graph: an input, a constant, or the output of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(Arc<str>);

impl Value {
    /// Returns the name in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The element types that are written, with their numbers in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Single precision floating point.
    Float = 1,
    /// Unsigned 8-bit integer.
    Byte = 2,
    /// Signed 64-bit integer.
    Whole = 7,
}

/// A dimension of an input or output.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// Any size, under a symbolic name.
    Any(&'static str),
    /// A fixed size.
    Is(usize),
}

/// An attribute of a node.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A floating-point number.
    Float(f32),
    /// An integer.
    Whole(i64),
    /// A list of integers.
    Wholes(Vec<i64>),
}

/// A graph. Its tensors are named after the part of the network in which they are created, see
/// [`Graph::at`], so that the same network always produces the same file.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    place: String,
    /// How often each name has been requested.
    names: HashMap<String, usize>,
    /// Constants that do not belong to a part of the network, by name.
    shared: HashMap<String, Value>,
}

impl Graph {
    /// Sets the part of the network after which subsequent tensors are named, for example
    /// `layer1.0.conv1`.
    pub fn at(&mut self, place: impl Into<String>) -> &mut Self {
        self.place = place.into();
        self
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, element: Element, sides: &[Side]) -> Value {
        self.inputs.push(described(name, element, sides));
        self.named(name.to_owned())
    }

    /// Declares `value` to be an output, under its own name.
    pub fn output(&mut self, value: &Value, name: &str, sides: &[Side]) -> Value {
        self.outputs.push(described(name, Element::Float, sides));
        let output = self.named(name.to_owned());
        self.push("Identity", &[value], &[], &output);
        output
    }

    /// Adds a floating-point constant of this shape.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Value {
        let value = self.named(name.to_owned());
        let mut tensor = tensor(&value, Element::Float, shape);
        tensor.floats(RAW_DATA, values);
        self.constants.push(tensor);
        value
    }

    /// Returns a scalar constant, which is shared by all its users.
    pub fn number(&mut self, number: f32) -> Value {
        let name = format!("constant/{number}");
        match self.shared.get(&name) {
            Some(value) => value.clone(),
            None => {
                let value = self.floats(&name, &[], vec![number]);
                self.shared.insert(name, value.clone());
                value
            }
        }
    }

    /// Returns a constant list of integers, which is shared by all its users.
    pub fn wholes(&mut self, numbers: &[i64]) -> Value {
        let text: Vec<String> = numbers.iter().map(i64::to_string).collect();
        let name = format!("constant/[{}]", text.join(","));
        self.whole_constant(name, &[numbers.len()], numbers)
    }

    /// Returns an integer scalar constant, which is shared by all its users.
    pub fn whole(&mut self, number: i64) -> Value {
        self.whole_constant(format!("constant/whole {number}"), &[], &[number])
    }

    fn whole_constant(&mut self, name: String, shape: &[usize], numbers: &[i64]) -> Value {
        if let Some(value) = self.shared.get(&name) {
            return value.clone();
        }
        let value = self.named(name.clone());
        let mut tensor = tensor(&value, Element::Whole, shape);
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        tensor.bytes(RAW_DATA, bytes);
        self.constants.push(tensor);
        self.shared.insert(name, value.clone());
        value
    }

    /// Adds a node with one output.
    pub fn node(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let output = self.made(operation);
        self.push(operation, inputs, attributes, &output);
        output
    }

    /// Returns a name for the output of `operation` in the current part of the network.
    fn made(&mut self, operation: &str) -> Value {
        self.named(format!("{}/{operation}", self.place))
    }

    /// Returns the name unchanged if it is new, otherwise with a number.
    fn named(&mut self, name: String) -> Value {
        let wanted = self.names.entry(name.clone()).or_default();
        *wanted += 1;
        match *wanted {
            1 => Value(name.into()),
            count => Value(format!("{name}.{count}").into()),
        }
    }

    fn push(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
        output: &Value,
    ) {
        let mut node = Message::default();
        for input in inputs {
            node.bytes(1, input.name());
        }
        node.bytes(2, output.name());
        node.bytes(3, output.name());
        node.bytes(4, operation);
        for (name, attribute) in attributes {
            node.message(5, attribute.message(name));
        }
        self.nodes.push(node);
    }

    /// Encodes the graph under `name`.
    pub(super) fn message(self, name: &str) -> Message {
        let mut graph = Message::default();
        for node in self.nodes {
            graph.message(1, node);
        }
        graph.bytes(2, name);
        for constant in self.constants {
            graph.message(5, constant);
        }
        for input in self.inputs {
            graph.message(11, input);
        }
        for output in self.outputs {
            graph.message(12, output);
        }
        graph
    }
}

/// The field of a tensor that contains its elements as bytes.
const RAW_DATA: u32 = 9;

/// Encodes a tensor without its elements.
fn tensor(value: &Value, element: Element, shape: &[usize]) -> Message {
    let mut tensor = Message::default();
    for &side in shape {
        tensor.whole(1, side as i64);
    }
    tensor.whole(2, element as i64).bytes(8, value.name());
    tensor
}

/// Encodes the name, type and dimensions of an input or output.
fn described(name: &str, element: Element, sides: &[Side]) -> Message {
    let mut shape = Message::default();
    for side in sides {
        let mut dimension = Message::default();
        match side {
            Side::Is(side) => dimension.whole(1, *side as i64),
            Side::Any(name) => dimension.bytes(2, name),
        };
        shape.message(1, dimension);
    }
    let (mut tensor, mut kind, mut info) = Default::default();
    Message::message(Message::whole(&mut tensor, 1, element as i64), 2, shape);
    Message::message(&mut kind, 1, tensor);
    Message::message(Message::bytes(&mut info, 1, name), 2, kind);
    info
}

impl Attribute {
    fn message(&self, name: &str) -> Message {
        let mut attribute = Message::default();
        attribute.bytes(1, name);
        // The field of the value, and the number of its type.
        match self {
            Attribute::Float(value) => attribute.float(2, *value).whole(20, 1),
            Attribute::Whole(value) => attribute.whole(3, *value).whole(20, 2),
            Attribute::Wholes(values) => {
                for value in values {
                    attribute.whole(8, *value);
                }
                attribute.whole(20, 7)
            }
        };
        attribute
    }
}
