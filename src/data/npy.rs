//! NumPy's `.npy` files of floating-point numbers.
//!
//! Layout: the magic bytes, a two-byte version, the header's length (two bytes in version 1, four
//! in later versions), the header (a Python dictionary of literals), the numbers.

use std::io::Read;
use std::path::Path;

use half::f16;

use super::content;
use crate::error::{Error, Result};
use crate::io;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Maximum length of a header, in bytes.
const MAX_HEADER: u64 = 1 << 16;

/// Maximum size of a file, in bytes.
const MAX_BYTES: u64 = 1 << 36;

/// The contents of a header.
#[derive(Debug, PartialEq)]
struct Header {
    /// The type of the elements, such as `<f4`.
    kind: String,
    column_by_column: bool,
    shape: Vec<usize>,
}

/// An array: its shape and its elements in row-major order.
pub type Array = (Vec<usize>, Vec<f32>);

/// Reads an array of floating-point numbers.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a `.npy` file or does not match its header,
/// or if its elements are integers or stored in column-major order.
pub fn read(path: &Path) -> Result<Array> {
    let broken = |problem: String| Error::file(path, problem);
    let mut file = fs_err::File::open(path)?;
    let whole = file.metadata()?.len();
    let mut start = Vec::new();
    (&mut file).take(12).read_to_end(&mut start)?;
    let (length, skipped) = match start.as_slice() {
        [magic @ .., 1, 0, a, b, c, d] if magic == MAGIC => {
            (u64::from(u16::from_le_bytes([*a, *b])), vec![*c, *d])
        }
        [magic @ .., 2 | 3, 0, a, b, c, d] if magic == MAGIC => {
            (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), vec![])
        }
        _ => {
            let found = content::of(&start).map_or("something else", |content| content.what);
            return Err(broken(format!("expected a NumPy array, found {found}"))
                .hint("write it with `numpy.save`"));
        }
    };
    if length > MAX_HEADER || whole > MAX_BYTES {
        let problem = format!("a header of {length} bytes in a file of {whole} is too long");
        return Err(broken(problem));
    }
    let mut header = skipped;
    let rest = length.saturating_sub(header.len() as u64);
    (&mut file).take(rest).read_to_end(&mut header)?;
    let header = parse(&header).ok_or_else(|| {
        broken("the header of the NumPy array is damaged".to_owned()).hint("write it again")
    })?;
    if header.column_by_column {
        return Err(broken("the array is stored column by column".to_owned())
            .hint("write `numpy.ascontiguousarray(array)`"));
    }
    let size = match header.kind.get(1..) {
        Some("f4") => 4,
        Some("f8") => 8,
        Some("f2") => 2,
        _ => {
            let problem = format!("contains numbers of the type `{}`", header.kind);
            return Err(broken(problem).hint("expected float32, float64 or float16"));
        }
    };
    let shape = &header.shape;
    let count = shape
        .iter()
        .try_fold(size, |bytes: usize, &side| bytes.checked_mul(side));
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if count != Some(bytes.len()) {
        let problem = format!(
            "has {} bytes of numbers, which does not match the shape {shape:?} of `{}`",
            bytes.len(),
            header.kind
        );
        return Err(broken(problem).hint("the file may be cut off: copy or write it again"));
    }
    let swapped = header.kind.starts_with('>');
    let values = bytes
        .chunks_exact(size)
        .map(|number| value(number, swapped));
    let values = values.collect();
    Ok((header.shape, values))
}

/// Converts an element of 2, 4 or 8 bytes.
fn value(number: &[u8], swapped: bool) -> f32 {
    let mut bytes = [0; 8];
    let bytes = &mut bytes[..number.len()];
    bytes.copy_from_slice(number);
    if swapped {
        bytes.reverse();
    }
    match *bytes {
        [a, b] => f16::from_le_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    }
}

/// Parses a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(header: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(header).ok()?;
    let after = |key: &str| {
        let quoted = [format!("'{key}':"), format!("\"{key}\":")];
        let found = quoted.iter().find_map(|key| text.split_once(key.as_str()));
        found.map(|(_, rest)| rest.trim_start())
    };
    let descr = after("descr")?;
    let quote = descr.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let kind = descr[1..].split(quote).next()?.to_owned();
    let order = after("fortran_order")?;
    let column_by_column = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    let shape = after("shape")?.strip_prefix('(')?.split(')').next()?;
    let sides = shape
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty());
    Some(Header {
        kind,
        column_by_column,
        shape: sides.map(|side| side.parse().ok()).collect::<Option<_>>()?,
    })
}

/// Writes an array of `float32`. `fill` writes the elements, as many as `shape` requires.
///
/// # Errors
/// Returns the error of `fill`, or an error if the file cannot be written.
pub fn write(
    path: &Path,
    shape: &[usize],
    fill: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let tail = if shape.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{tail}), }}",
        sides.join(", ")
    );
    // The elements start at a multiple of 64 bytes, and the header ends with a newline.
    let padding = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    io::write_atomic(path, |writer| {
        writer.write_all(MAGIC)?;
        writer.write_all(&[1, 0])?;
        writer.write_all(&(header.len() as u16).to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        let mut bytes = Vec::new();
        fill(&mut |numbers| {
            bytes.clear();
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            Ok(writer.write_all(&bytes)?)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as NumPy 2 writes it.
    fn file(kind: &str, shape: &str, version: u8, numbers: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(numbers);
        bytes
    }

    fn numbers(bytes: &[u8]) -> Result<Array> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        fs_err::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn all_kinds_of_numbers_and_versions_are_read() {
        let expected = [1.5f32, -2.0, 0.25, 65504.0];
        let bytes = |of: &dyn Fn(f32) -> Vec<u8>| -> Vec<u8> {
            expected.iter().flat_map(|&value| of(value)).collect()
        };
        let kinds: [(&str, Vec<u8>); 6] = [
            ("<f4", bytes(&|v| v.to_le_bytes().to_vec())),
            (">f4", bytes(&|v| v.to_be_bytes().to_vec())),
            ("<f8", bytes(&|v| f64::from(v).to_le_bytes().to_vec())),
            (">f8", bytes(&|v| f64::from(v).to_be_bytes().to_vec())),
            ("<f2", bytes(&|v| f16::from_f32(v).to_le_bytes().to_vec())),
            (">f2", bytes(&|v| f16::from_f32(v).to_be_bytes().to_vec())),
        ];
        for (kind, data) in &kinds {
            for version in [1, 2, 3] {
                let (shape, values) = numbers(&file(kind, "(2, 2)", version, data)).unwrap();
                assert_eq!(values, expected, "{kind} {version}");
                assert_eq!(shape, [2, 2]);
            }
        }
    }

    #[test]
    fn what_is_no_such_array_is_told() {
        let four = [0; 16];
        for (bytes, said) in [
            (b"PK\x03\x04 and so on, longer".to_vec(), "a zip archive"),
            (file("<i8", "(2, 1)", 1, &four), "`<i8`"),
            (file("|O", "(2, 1)", 1, &four), "`|O`"),
            (file("<f4", "(3, 2)", 1, &four), "16 bytes of numbers"),
            (
                file("<f4", "(99999999999, 99999999999)", 1, &four),
                "16 bytes",
            ),
            (file("<f4", "(-1, 2)", 1, &four), "damaged"),
            (file("<f4", "(2, 2)", 1, &four)[..20].to_vec(), "damaged"),
            (b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(), "too long"),
        ] {
            let error = numbers(&bytes).err().unwrap().to_string();
            assert!(error.contains(said), "{error} / {said}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let values: Vec<f32> = (0..12).map(|i| i as f32 / 3.0).collect();
        write(&path, &[3, 4], |put| put(&values)).unwrap();
        assert_eq!(read(&path).unwrap(), (vec![3, 4], values));
        assert_eq!(fs_err::read(&path).unwrap().len() % 64, 48);
    }
}
