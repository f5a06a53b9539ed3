//! Encodes protocol buffers, as far as ONNX needs it: the fields of a message one after the other,
//! each consisting of a key (field number and wire type) and a value.
//!
//! The encoding: <https://protobuf.dev/programming-guides/encoding/>.

use std::io::Write;

use crate::error::Result;

/// The wire type of a value, the lowest three bits of its key.
#[derive(Debug, Clone, Copy)]
enum Wire {
    /// A variable-length integer.
    Varint = 0,
    /// A length followed by that many bytes.
    Bytes = 2,
    /// Four bytes.
    Fixed = 5,
}

/// Number of bytes to which float values are converted at a time.
const CHUNK: usize = 1 << 14;

/// A message. Tensors are converted to bytes only when it is written, and are not copied when a
/// message becomes part of another.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message {
    parts: Vec<Part>,
    length: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Bytes(Vec<u8>),
    /// Numbers, written in little-endian order.
    Floats(Vec<f32>),
}

impl Message {
    /// Returns the number of bytes of the encoded message.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends an integer. A negative one takes ten bytes, as defined for the type `int64`.
    pub(super) fn whole(&mut self, field: u32, value: i64) -> &mut Self {
        let mut bytes = key(field, Wire::Varint);
        // Two's complement, as the type is defined.
        varint(value.cast_unsigned(), &mut bytes);
        self.push(&bytes)
    }

    /// Appends a single-precision number.
    pub(super) fn float(&mut self, field: u32, value: f32) -> &mut Self {
        let mut bytes = key(field, Wire::Fixed);
        bytes.extend(value.to_le_bytes());
        self.push(&bytes)
    }

    /// Appends a string or other bytes.
    pub(super) fn bytes(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.open(field, value.len() as u64);
        self.push(value)
    }

    /// Appends numbers as raw little-endian bytes.
    pub(super) fn floats(&mut self, field: u32, values: Vec<f32>) -> &mut Self {
        let length = 4 * values.len() as u64;
        self.open(field, length);
        self.parts.push(Part::Floats(values));
        self.length += length;
        self
    }

    /// Appends a nested message.
    pub(super) fn message(&mut self, field: u32, message: Message) -> &mut Self {
        self.open(field, message.length);
        for part in message.parts {
            match part {
                Part::Bytes(bytes) => {
                    self.push(&bytes);
                }
                Part::Floats(values) => {
                    self.length += 4 * values.len() as u64;
                    self.parts.push(Part::Floats(values));
                }
            }
        }
        self
    }

    /// Writes the encoded message.
    ///
    /// # Errors
    /// Returns an error if the writer fails.
    pub(super) fn write(&self, writer: &mut dyn Write) -> Result<()> {
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => writer.write_all(bytes)?,
                Part::Floats(values) => {
                    for values in values.chunks(CHUNK / 4) {
                        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                        writer.write_all(&bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a field of `length` bytes.
    fn open(&mut self, field: u32, length: u64) {
        let mut bytes = key(field, Wire::Bytes);
        varint(length, &mut bytes);
        self.push(&bytes);
    }

    fn push(&mut self, bytes: &[u8]) -> &mut Self {
        self.length += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Bytes(before)) => before.extend(bytes),
            _ => self.parts.push(Part::Bytes(bytes.to_vec())),
        }
        self
    }
}

fn key(field: u32, wire: Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(u64::from(field) << 3 | wire as u64, &mut bytes);
    bytes
}

/// Encodes an integer with seven bits per byte, lowest first; the highest bit says that more
/// follow.
fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, message.length());
        bytes
    }

    /// The examples in the documentation of the encoding.
    #[test]
    fn the_documented_examples_are_written_so() {
        // `int32 a = 1` with 150.
        let mut first = Message::default();
        first.whole(1, 150);
        assert_eq!(written(&first), [0x08, 0x96, 0x01]);
        // `string b = 2` with "testing".
        let mut second = Message::default();
        second.bytes(2, "testing");
        let testing = [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67];
        assert_eq!(written(&second), testing);
        // `Test1 c = 3` with the first message.
        let mut third = Message::default();
        third.message(3, first);
        assert_eq!(written(&third), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        // -2 as `int64`: ten bytes.
        let mut negative = Message::default();
        negative.whole(1, -2);
        let expected = [8, 0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(written(&negative), expected);
    }

    #[test]
    fn floats_are_raw_bytes_lowest_first_wherever_they_lie() {
        let mut tensor = Message::default();
        tensor.float(1, 1.0).floats(9, vec![1.0, -2.5]).whole(2, 1);
        let expected = [
            0x0d, 0, 0, 0x80, 0x3f, // 1.0
            0x4a, 8, 0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, // 1.0, -2.5
            0x10, 1,
        ];
        assert_eq!(written(&tensor), expected);
        let mut around = Message::default();
        around.whole(1, 7).message(20, tensor).whole(1, 8);
        let mut nested = vec![0x08, 7, 0xa2, 1, expected.len() as u8];
        nested.extend(expected);
        nested.extend([0x08, 8]);
        assert_eq!(written(&around), nested);
        // More than are converted at a time.
        let many: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
        let mut long = Message::default();
        long.floats(1, many.clone());
        let bytes = written(&long);
        let (values, _) = bytes[bytes.len() - 40_000..].as_chunks::<4>();
        let back: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(back, many);
    }
}
