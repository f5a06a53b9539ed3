//! Files written by `torch.save`: a pickle of names and shapes beside the numbers, in a zip archive
//! since PyTorch 1.6, and one after the other before that.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::Place;
use super::pickle::{self, Id, Pickle, Value};
use super::stored::{Element, Span, Stored};
use crate::error::{Error, Result};

/// The beginning of a file in the older format: a pickled magic number.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The deepest nesting of dictionaries that is searched, and the largest number of entries.
const DEEPEST: usize = 32;
const MOST_ENTRIES: usize = 1_000_000;

fn broken(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::file(
        path,
        format_args!("is not a readable PyTorch file: {problem}"),
    )
    .hint("save it again in PyTorch: `torch.save(model.state_dict(), ...)`, or as safetensors")
}

/// Reads the tensors of a file in the zip format; their names are the keys of the dictionaries that
/// lead to them.
pub(super) fn read_zip(path: &Path) -> Result<Vec<(String, Stored)>> {
    let file = BufReader::new(fs_err::File::open(path)?);
    let mut archive = zip::ZipArchive::new(file).map_err(|e| broken(path, e))?;
    let names: Vec<String> = (0..archive.len())
        .filter_map(|i| Some(archive.by_index(i).ok()?.name().ok()?.into_owned()))
        .collect();
    let Some(prefix) = names.iter().find_map(|name| name.strip_suffix("data.pkl")) else {
        let first = names.first().map_or("", String::as_str);
        let problem = format!("a zip archive without `data.pkl`, first file `{first}`");
        return Err(broken(path, problem));
    };
    let byte_order = format!("{prefix}byteorder");
    if names.contains(&byte_order) {
        let mut text = String::new();
        (archive
            .by_name(&byte_order)
            .map_err(|e| broken(path, e))?
            .take(16))
        .read_to_string(&mut text)?;
        if text.trim() != "little" {
            return Err(broken(path, "its numbers have their largest byte first"));
        }
    }
    let pickle = {
        let entry = archive.by_name(&format!("{prefix}data.pkl"));
        let mut entry = BufReader::new(entry.map_err(|e| broken(path, e))?);
        pickle::read(&mut entry).map_err(|problem| broken(path, problem))?
    };
    let shared = Arc::new(Place::from(path));
    let mut find = |storage: &Storage| {
        let entry = archive.by_name(&format!("{prefix}data/{}", storage.key));
        // Only entries that are not compressed can be read in place.
        let entry = entry.ok()?;
        (entry.compression() == zip::CompressionMethod::Stored).then_some(())?;
        Some(Span {
            place: shared.clone(),
            offset: entry.data_start()?,
            length: entry.size(),
        })
    };
    collect(&pickle, &mut find).map_err(|problem| broken(path, problem))
}

/// The same for the older format.
pub(super) fn read_legacy(path: &Path) -> Result<Vec<(String, Stored)>> {
    let mut file = BufReader::new(fs_err::File::open(path)?);
    let whole = file.get_ref().metadata()?.len();
    let mut next = || pickle::read(&mut file).map_err(|problem| broken(path, problem));
    // Magic number, version, byte order and type sizes of the writer.
    next()?;
    next()?;
    let system = next()?;
    if let Value::Dict(pairs) = &system.values[system.root] {
        let order = (pairs.iter()).find(|(key, _)| system.text(*key) == Some("little_endian"));
        if order.is_some_and(|(_, value)| system.int(*value) == Some(0)) {
            return Err(broken(path, "its numbers have their largest byte first"));
        }
    }
    let object = next()?;
    let keys = next()?;
    let mut sizes = HashMap::new();
    for value in &object.values {
        if let Value::Persistent(id) = value
            && let Some(storage) = Storage::read(&object, *id)
        {
            sizes.insert(storage.key, storage.bytes);
        }
    }
    let shared = Arc::new(Place::from(path));
    let mut spans = HashMap::new();
    for key in keys.list(keys.root).unwrap_or_default() {
        let key = keys.text(*key).unwrap_or_default();
        let mut count = [0; 8];
        let problem = || broken(path, "it is cut off: its numbers are missing");
        file.read_exact(&mut count).map_err(|_| problem())?;
        let size = *sizes.get(key).ok_or_else(problem)?;
        let offset = file.stream_position()?;
        let length = u64::from_le_bytes(count).checked_mul(size);
        let length = length.filter(|length| *length <= whole - offset.min(whole));
        let length = length.ok_or_else(problem)?;
        file.seek(SeekFrom::Start(offset + length))?;
        let span = Span {
            place: shared.clone(),
            offset,
            length,
        };
        spans.insert(key.to_owned(), span);
    }
    let mut find = |storage: &Storage| spans.get(&storage.key).cloned();
    collect(&object, &mut find).map_err(|problem| broken(path, problem))
}

/// A storage as described in the pickle: numbers that several tensors may share.
struct Storage {
    key: String,
    /// `None` for untyped storages, whose tensors have a type.
    element: Option<Element>,
    /// The bytes per element.
    bytes: u64,
    /// The number of elements before this view of the storage.
    first: u64,
}

impl Storage {
    /// Reads `("storage", type, key, location, count)`, in the older format followed by a view.
    fn read(pickle: &Pickle, id: Id) -> Option<Self> {
        let parts = pickle.list(id)?;
        let [tag, kind, key, _, _, rest @ ..] = parts else {
            return None;
        };
        (pickle.text(*tag)? == "storage").then_some(())?;
        let (_, name) = pickle.global(*kind)?;
        let (element, bytes) = element(name.strip_suffix("Storage")?);
        let first = (rest.first())
            .and_then(|view| pickle.int(*pickle.list(*view)?.get(1)?))
            .unwrap_or(0);
        Some(Storage {
            key: pickle.text(*key)?.to_owned(),
            element,
            bytes,
            first: u64::try_from(first).ok()?,
        })
    }
}

/// Returns the type with this PyTorch name, of a storage (`Float`) or of a tensor (`float32`), and
/// its size in bytes.
fn element(name: &str) -> (Option<Element>, u64) {
    let (element, bytes) = match name {
        "Double" | "float64" => (Element::F64, 8),
        "Float" | "float32" => (Element::F32, 4),
        "Half" | "float16" => (Element::F16, 2),
        "BFloat16" | "bfloat16" => (Element::BF16, 2),
        "Long" | "int64" => (Element::Other("integers"), 8),
        "Int" | "int32" => (Element::Other("integers"), 4),
        "Short" | "int16" => (Element::Other("integers"), 2),
        "Bool" | "bool" => (Element::Other("truth values"), 1),
        "Char" | "Byte" | "int8" | "uint8" => (Element::Other("integers of 8 bits"), 1),
        "ComplexFloat" | "complex64" => (Element::Other("complex numbers"), 8),
        "ComplexDouble" | "complex128" => (Element::Other("complex numbers"), 16),
        "QInt8" | "QUInt8" => (Element::Other("quantised numbers"), 1),
        "QInt32" => (Element::Other("quantised numbers"), 4),
        "Untyped" => return (None, 1),
        _ => (Element::Other("numbers of an unknown kind"), 1),
    };
    (Some(element), bytes)
}

type Find<'a> = dyn FnMut(&Storage) -> Option<Span> + 'a;

/// Collects all tensors reachable from the root through dictionaries and modules.
fn collect(
    pickle: &Pickle,
    find: &mut Find<'_>,
) -> std::result::Result<Vec<(String, Stored)>, String> {
    let mut found = Vec::new();
    let mut entries = 0;
    // Last in, first out: children are pushed in reverse to keep the file's order.
    let mut waiting = vec![(String::new(), pickle.root, 0)];
    while let Some((name, id, depth)) = waiting.pop() {
        entries += 1;
        if depth > DEEPEST || entries > MOST_ENTRIES {
            return Err("its dictionaries are nested too deeply".into());
        }
        if let Some(tensor) = tensor(pickle, id, depth) {
            let (storage, mut stored) = tensor?;
            // Numbers that cannot be found are reported when they are needed.
            if let Some(span) = find(&storage) {
                stored.span = span;
            }
            found.push((name, stored));
            continue;
        }
        let children = children(pickle, id).unwrap_or_default();
        for (key, child) in children.into_iter().rev() {
            let name = match (name.as_str(), key.as_str()) {
                (name, "") => name.to_owned(),
                ("", key) => key.to_owned(),
                (name, key) => format!("{name}.{key}"),
            };
            waiting.push((name, child, depth + 1));
        }
    }
    Ok(found)
}

/// Returns the entries of a dictionary by name. The entries of a module (`torch.save(model)`) are
/// its own tensors and, under their names, its submodules.
fn children(pickle: &Pickle, id: Id) -> Option<Vec<(String, Id)>> {
    let pairs = match pickle.values.get(id)? {
        Value::Dict(pairs) => pairs,
        Value::Call {
            state: Some(state), ..
        } => match pickle.values.get(*state)? {
            Value::Dict(pairs) => pairs,
            _ => return None,
        },
        _ => return None,
    };
    let named = pairs.iter().filter_map(|(key, value)| {
        let key = match pickle.values.get(*key)? {
            Value::Text(text) => text.clone(),
            Value::Int(int) => int.to_string(),
            _ => return None,
        };
        Some(match key.as_str() {
            "_parameters" | "_buffers" | "_modules" => (String::new(), *value),
            _ => (key, *value),
        })
    });
    Some(named.collect())
}

type Found = std::result::Result<(Storage, Stored), String>;

/// Returns the tensor created by a call, if the call creates one.
fn tensor(pickle: &Pickle, id: Id, depth: usize) -> Option<Found> {
    let Value::Call {
        callee, arguments, ..
    } = pickle.values.get(id)?
    else {
        return None;
    };
    let (_, name) = pickle.global(*callee)?;
    let arguments = pickle.list(*arguments)?;
    made_tensor(pickle, name, arguments, depth)
}

fn made_tensor(pickle: &Pickle, name: &str, arguments: &[Id], depth: usize) -> Option<Found> {
    match name {
        "_rebuild_parameter" | "_rebuild_parameter_with_state" if depth <= DEEPEST => {
            tensor(pickle, *arguments.first()?, depth + 1)
        }
        // A subclass around one of the other kinds.
        "_rebuild_from_type_v2" if depth <= DEEPEST => {
            let (_, name) = pickle.global(*arguments.first()?)?;
            made_tensor(pickle, name, pickle.list(*arguments.get(2)?)?, depth + 1)
        }
        "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3" => Some(
            rebuilt(pickle, arguments).ok_or_else(|| "a tensor's description is damaged".into()),
        ),
        _ => None,
    }
}

/// Reads `(storage, offset, shape, strides, ..., type)`.
fn rebuilt(pickle: &Pickle, arguments: &[Id]) -> Option<(Storage, Stored)> {
    let [storage, offset, shape, strides, rest @ ..] = arguments else {
        return None;
    };
    let Value::Persistent(id) = pickle.values.get(*storage)? else {
        return None;
    };
    let storage = Storage::read(pickle, *id)?;
    let sizes = |id: Id| -> Option<Vec<usize>> {
        // `torch.Size` is a tuple under another name.
        let list = match pickle.values.get(id)? {
            Value::Call { arguments, .. } => pickle.list(*pickle.list(*arguments)?.first()?)?,
            _ => pickle.list(id)?,
        };
        (list.iter())
            .map(|&size| usize::try_from(pickle.int(size)?).ok())
            .collect()
    };
    let (shape, strides) = (sizes(*shape)?, sizes(*strides)?);
    (shape.len() == strides.len()).then_some(())?;
    let own = (rest.iter().rev()).find_map(|id| match pickle.global(*id) {
        Some(("torch", name)) => element(name).0,
        _ => None,
    });
    let offset = u64::try_from(pickle.int(*offset)?).ok()?;
    let stored = Stored {
        element: storage.element.or(own)?,
        strides: Some(strides),
        first: offset.checked_add(storage.first)?,
        shape,
        span: Span {
            place: Arc::new(Place::from("")),
            offset: 0,
            length: 0,
        },
    };
    Some((storage, stored))
}
