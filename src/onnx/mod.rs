//! ONNX files: a network as a graph of standard operations that other programs can run.
//!
//! The format, <https://onnx.ai/onnx/repo-docs/IR.html>, consists of a few protocol buffer messages
//! and is encoded here without a library. How a layer is expressed in these operations is defined
//! with the layer, in [`crate::model`].

mod graph;
mod maps;
mod operations;
mod protobuf;

use std::path::Path;

use crate::error::{Error, Result};
use crate::io::write_atomic;
use protobuf::Message;

pub use graph::{Attribute, Element, Graph, Side, Value};
pub use maps::Maps;
pub use operations::Window;

/// The version of the operator set, the first with layer normalisation.
pub const OPSET: i64 = 17;

/// The version of the file format that goes with the operator set.
const FORMAT: i64 = 8;

/// Maximum size of a file that readers accept, in bytes.
const LARGEST: u64 = (1 << 31) - 1;

/// A graph with the information that accompanies it in a file.
#[derive(Debug)]
pub struct Document {
    /// The graph.
    pub graph: Graph,
    /// The name of the graph.
    pub name: String,
    /// A description for human readers.
    pub about: String,
    /// Metadata for programs: keys and values.
    pub metadata: Vec<(String, String)>,
}

impl Document {
    /// Writes the file atomically.
    ///
    /// # Errors
    /// Returns an error if the file would be larger than readers accept or cannot be written.
    pub fn write(self, path: &Path) -> Result<()> {
        let model = self.message();
        if model.length() > LARGEST {
            let problem = format!(
                "would have {} bytes, but no reader of ONNX accepts more than {LARGEST}",
                model.length()
            );
            return Err(Error::file(path, problem).hint("export it as safetensors"));
        }
        write_atomic(path, |writer| model.write(writer))
    }

    /// Encodes the `ModelProto`.
    fn message(self) -> Message {
        let mut model = Message::default();
        model
            .whole(1, FORMAT)
            .bytes(2, env!("CARGO_PKG_NAME"))
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .bytes(6, &self.about);
        model.message(7, self.graph.message(&self.name));
        let mut operations = Message::default();
        operations.bytes(1, "").whole(2, OPSET);
        model.message(8, operations);
        for (key, value) in &self.metadata {
            let mut entry = Message::default();
            entry.bytes(1, key).bytes(2, value);
            model.message(14, entry);
        }
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph with one node has the same bytes as from `onnx.helper` of the reference package.
    #[test]
    fn a_graph_of_one_node_is_written_as_by_the_reference() {
        let mut graph = Graph::default();
        let sides = [Side::Any("n"), Side::Is(2)];
        let x = graph.input("x", Element::Float, &sides);
        let two = graph.floats("two", &[1], vec![2.0]);
        let y = graph.at("a").multiply(&x, &two);
        graph.output(&y, "y", &sides);
        let document = Document {
            graph,
            name: "g".to_owned(),
            about: "b".to_owned(),
            metadata: vec![("k".to_owned(), "v".to_owned())],
        };
        let mut bytes = Vec::new();
        document.message().write(&mut bytes).unwrap();
        let expected: [&[u8]; 10] = [
            b"\x08\x08\x12\x06dbloss\x1a\x05",
            env!("CARGO_PKG_VERSION").as_bytes(),
            b"2\x01b:v",
            b"\n\x1b\n\x01x\n\x03two\x12\x05a/Mul\x1a\x05a/Mul\"\x03Mul",
            b"\n\x17\n\x05a/Mul\x12\x01y\x1a\x01y\"\x08Identity",
            b"\x12\x01g*\x0f\x08\x01\x10\x01B\x03twoJ\x04\x00\x00\x00@",
            b"Z\x14\n\x01x\x12\x0f\n\r\x08\x01\x12\t\n\x03\x12\x01n\n\x02\x08\x02",
            b"b\x14\n\x01y\x12\x0f\n\r\x08\x01\x12\t\n\x03\x12\x01n\n\x02\x08\x02",
            b"B\x04\n\x00\x10\x11",
            b"r\x06\n\x01k\x12\x01v",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn the_same_name_is_given_once_and_constants_are_shared() {
        let mut graph = Graph::default();
        let a = graph.floats("a", &[1], vec![1.0]);
        let first = graph.at("here").relu(&a);
        let second = graph.relu(&first);
        assert_eq!([first.name(), second.name()], ["here/Relu", "here/Relu.2"]);
        assert_eq!(graph.number(0.5), graph.number(0.5));
        assert_ne!(graph.whole(1), graph.wholes(&[1]));
        assert_ne!(graph.number(1.0).name(), graph.whole(1).name());
    }
}
