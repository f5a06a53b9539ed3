//! Reads an ONNX file, independently of how the program writes it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

/// A field of a protocol buffer message.
enum Field<'a> {
    Whole(u64),
    Fixed([u8; 4]),
    Bytes(&'a [u8]),
}

/// Returns the fields of a message in order, with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Whole(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk::<4>().unwrap();
                bytes = rest;
                Field::Fixed(*value)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// Returns the fields with this number that are messages or strings.
fn all(message: &[u8], number: u64) -> Vec<&[u8]> {
    let found = fields(message).into_iter();
    found
        .filter_map(|(field, value)| match value {
            Field::Bytes(bytes) if field == number => Some(bytes),
            _ => None,
        })
        .collect()
}

fn text(message: &[u8], number: u64) -> String {
    let found = all(message, number);
    String::from_utf8(found.first().copied().unwrap_or_default().to_vec()).unwrap()
}

fn wholes(message: &[u8], number: u64) -> Vec<i64> {
    let found = fields(message).into_iter();
    found
        .filter_map(|(field, value)| match value {
            Field::Whole(whole) if field == number => Some(whole.cast_signed()),
            _ => None,
        })
        .collect()
}

/// A node of the graph.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub operation: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub wholes: BTreeMap<String, Vec<i64>>,
    pub floats: BTreeMap<String, f32>,
}

/// An input or output: its name, its element type, and its dimensions (a name or a number each).
#[derive(Debug, PartialEq)]
pub(crate) struct Described {
    pub name: String,
    pub element: i64,
    pub sides: Vec<String>,
}

/// The contents of a file.
#[derive(Debug)]
pub(crate) struct File {
    pub opset: i64,
    pub metadata: BTreeMap<String, String>,
    pub nodes: Vec<Node>,
    pub constants: BTreeMap<String, Tensor>,
    pub inputs: Vec<Described>,
    pub outputs: Vec<Described>,
}

pub(crate) fn read(bytes: &[u8]) -> File {
    let operations = all(bytes, 8);
    assert_eq!(operations.len(), 1);
    let entries = all(bytes, 14).into_iter();
    let graph = all(bytes, 7)[0];
    File {
        opset: wholes(operations[0], 2)[0],
        metadata: entries.map(|e| (text(e, 1), text(e, 2))).collect(),
        nodes: all(graph, 1).into_iter().map(node).collect(),
        constants: all(graph, 5).into_iter().map(constant).collect(),
        inputs: all(graph, 11).into_iter().map(described).collect(),
        outputs: all(graph, 12).into_iter().map(described).collect(),
    }
}

fn node(message: &[u8]) -> Node {
    let texts = |number| -> Vec<String> {
        let found = all(message, number).into_iter();
        found
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            .collect()
    };
    let mut node = Node {
        operation: text(message, 4),
        inputs: texts(1),
        outputs: texts(2),
        ..Node::default()
    };
    for attribute in all(message, 5) {
        let (name, kind) = (text(attribute, 1), wholes(attribute, 20)[0]);
        match kind {
            1 => {
                let float = fields(attribute).into_iter().find_map(|field| match field {
                    (2, Field::Fixed(bytes)) => Some(f32::from_le_bytes(bytes)),
                    _ => None,
                });
                node.floats.insert(name, float.unwrap());
            }
            2 => {
                node.wholes.insert(name, wholes(attribute, 3));
            }
            7 => {
                node.wholes.insert(name, wholes(attribute, 8));
            }
            other => panic!("attribute of type {other}"),
        }
    }
    node
}

fn constant(message: &[u8]) -> (String, Tensor) {
    let sides: Vec<usize> = (wholes(message, 1).into_iter())
        .map(|side| usize::try_from(side).unwrap())
        .collect();
    let raw = all(message, 9)[0];
    let tensor = match wholes(message, 2)[0] {
        1 => {
            let (values, rest) = raw.as_chunks::<4>();
            assert!(rest.is_empty());
            let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
            Tensor::from_vec(values, sides, &Device::Cpu)
        }
        7 => {
            let (values, _) = raw.as_chunks::<8>();
            let values: Vec<i64> = values.iter().map(|v| i64::from_le_bytes(*v)).collect();
            Tensor::from_vec(values, sides, &Device::Cpu)
        }
        other => panic!("element of type {other}"),
    };
    (text(message, 8), tensor.unwrap())
}

fn described(message: &[u8]) -> Described {
    let tensor = all(all(message, 2)[0], 1)[0];
    let sides = all(all(tensor, 2)[0], 1).into_iter();
    let side = |side: &[u8]| match wholes(side, 1).first() {
        Some(number) => number.to_string(),
        None => text(side, 2),
    };
    Described {
        name: text(message, 1),
        element: wholes(tensor, 1)[0],
        sides: sides.map(side).collect(),
    }
}
