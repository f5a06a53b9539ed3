//! Writes files in both formats of `torch.save`, and safetensors files byte by byte.

use std::io::Write;
use std::path::Path;

/// The contents of a checkpoint.
#[derive(Clone)]
pub(crate) enum Node {
    Dict(Vec<(String, Node)>),
    Tensor(Tensor),
    Int(u8),
    /// Pickle instructions that leave one value on the stack.
    Raw(Vec<u8>),
}

/// A tensor of `f32` with the strides and the order of values that the file should have.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub shape: Vec<u32>,
    pub strides: Vec<u32>,
    pub values: Vec<f32>,
}

/// Returns a tensor in row-major order.
pub(crate) fn tensor(shape: &[u32], values: Vec<f32>) -> Node {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    Node::Tensor(Tensor {
        shape: shape.to_vec(),
        strides,
        values,
    })
}

/// Returns a dictionary.
pub(crate) fn dict(entries: impl IntoIterator<Item = (impl Into<String>, Node)>) -> Node {
    Node::Dict(entries.into_iter().map(|(k, v)| (k.into(), v)).collect())
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn int(pickle: &mut Vec<u8>, value: u32) {
    pickle.push(b'J');
    pickle.extend(value.to_le_bytes());
}

fn value(pickle: &mut Vec<u8>, node: &Node, legacy: bool, storages: &mut Vec<Vec<f32>>) {
    match node {
        Node::Int(number) => pickle.extend([b'K', *number]),
        Node::Raw(raw) => pickle.extend(raw),
        Node::Dict(entries) => {
            pickle.extend(b"ccollections\nOrderedDict\n)R(");
            for (key, node) in entries {
                text(pickle, key);
                value(pickle, node, legacy, storages);
            }
            pickle.push(b'u');
        }
        Node::Tensor(tensor) => {
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(pickle, "storage");
            pickle.extend(b"ctorch\nFloatStorage\n");
            text(pickle, &storages.len().to_string());
            text(pickle, "cpu");
            int(pickle, tensor.values.len() as u32);
            pickle.extend(if legacy { &b"NtQ"[..] } else { b"tQ" });
            int(pickle, 0);
            for sizes in [&tensor.shape, &tensor.strides] {
                pickle.push(b'(');
                sizes.iter().for_each(|&size| int(pickle, size));
                pickle.push(b't');
            }
            pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
            storages.push(tensor.values.clone());
        }
    }
}

fn pickled(root: &Node, legacy: bool) -> (Vec<u8>, Vec<Vec<f32>>) {
    let (mut pickle, mut storages) = (vec![0x80, 2], Vec::new());
    value(&mut pickle, root, legacy, &mut storages);
    pickle.push(b'.');
    (pickle, storages)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Writes the zip format of PyTorch 1.6 and later.
pub(crate) fn write_zip(path: &Path, root: &Node) {
    let (pickle, storages) = pickled(root, false);
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("archive/data.pkl", options).unwrap();
    archive.write_all(&pickle).unwrap();
    archive.start_file("archive/byteorder", options).unwrap();
    archive.write_all(b"little").unwrap();
    for (key, storage) in storages.iter().enumerate() {
        archive
            .start_file(format!("archive/data/{key}"), options)
            .unwrap();
        archive.write_all(&bytes(storage)).unwrap();
    }
    archive.finish().unwrap();
}

/// Writes the format before PyTorch 1.6: five pickles, followed by the numbers.
pub(crate) fn write_legacy(path: &Path, root: &Node) {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}(X\x0d\0\0\0little_endian\x88u.");
    let (pickle, storages) = pickled(root, true);
    file.extend(pickle);
    let mut keys = vec![0x80, 2, b']', b'('];
    (0..storages.len()).for_each(|key| text(&mut keys, &key.to_string()));
    keys.extend(b"e.");
    file.extend(keys);
    for storage in storages {
        file.extend((storage.len() as u64).to_le_bytes());
        file.extend(bytes(&storage));
    }
    std::fs::write(path, file).unwrap();
}

/// Returns the bytes of a safetensors file; each tensor is given as name, type, shape, bytes.
pub(crate) fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::<u8>::new());
    for (name, kind, shape, bytes) in tensors {
        let end = data.len() + bytes.len();
        entries.push(format!(
            r#""{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[{},{end}]}}"#,
            data.len()
        ));
        data.extend(bytes);
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}
