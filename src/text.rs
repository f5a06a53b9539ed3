//! Text files as found in practice: byte order marks, UTF-16, declared encodings, any line ending.
//!
//! Text that cannot be decoded is rejected with file and line; no character is replaced.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::error::{Error, Result};

/// Reads a text file: UTF-8, or UTF-16 recognised by its byte order mark or its bytes.
pub(crate) fn read(path: &Path) -> Result<String> {
    decode(fs_err::read(path)?, path)
}

/// Like [`read`], for bytes; `path` is named in errors.
pub(crate) fn decode(bytes: Vec<u8>, path: &Path) -> Result<String> {
    refuse_archive(&bytes, path)?;
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        return decode_as(encoding, &bytes[mark..], path);
    }
    match utf16_without_mark(&bytes) {
        Some(encoding) => decode_as(encoding, &bytes, path),
        None => String::from_utf8(bytes).map_err(|e| {
            let valid = e.utf8_error().valid_up_to();
            not_decoded(UTF_8, line_at(&e.as_bytes()[..valid]), path)
        }),
    }
}

/// Reads an XML file in the encoding given by its byte order mark or its declaration.
pub(crate) fn read_xml(path: &Path) -> Result<String> {
    decode_xml(fs_err::read(path)?, path)
}

/// Like [`read_xml`], for bytes; `path` is named in errors.
pub(crate) fn decode_xml(bytes: Vec<u8>, path: &Path) -> Result<String> {
    let Some(label) = declared_encoding(&bytes) else {
        return decode(bytes, path);
    };
    let Some(encoding) = Encoding::for_label(label.as_bytes()) else {
        let problem = format_args!("the declared encoding `{label}` is not known");
        return Err(Error::line(path, 1, problem).hint("save the file as UTF-8"));
    };
    // If the declaration was readable byte by byte, the file is not in UTF-16, whatever it
    // declares.
    if [UTF_8, UTF_16LE, UTF_16BE].contains(&encoding) {
        return decode(bytes, path);
    }
    decode_as(encoding, &bytes, path)
}

/// Returns the encoding in `<?xml ... encoding="..."?>`, if the bytes begin with such a
/// declaration.
fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let declaration = bytes.strip_prefix(b"<?xml")?;
    let end = declaration.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&declaration[..end]).ok()?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Some(value[1..].split(quote).next()?.trim().to_owned())
}

/// Detects UTF-16 without a byte order mark: text that begins with every second byte 0.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    match bytes {
        [a, 0, b, 0, ..] if *a != 0 && *b != 0 => Some(UTF_16LE),
        [0, a, 0, b, ..] if *a != 0 && *b != 0 => Some(UTF_16BE),
        _ => None,
    }
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8], path: &Path) -> Result<String> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    let mut text = String::with_capacity(room.unwrap_or(bytes.len()));
    match decoder.decode_to_string_without_replacement(bytes, &mut text, true) {
        (DecoderResult::InputEmpty, _) => Ok(text),
        _ => Err(not_decoded(encoding, line_at(text.as_bytes()), path)),
    }
}

fn not_decoded(encoding: &'static Encoding, line: u64, path: &Path) -> Error {
    let problem = format_args!("the text is not {}", encoding.name());
    Error::line(path, line, problem).hint("save the file as UTF-8")
}

fn line_at(before: &[u8]) -> u64 {
    1 + before.iter().filter(|&&b| b == b'\n').count() as u64
}

fn refuse_archive(bytes: &[u8], path: &Path) -> Result<()> {
    let what = match bytes {
        [b'P', b'K', 3, 4, ..] => "a zip archive or a spreadsheet",
        [0x1f, 0x8b, ..] => "compressed with gzip",
        _ => return Ok(()),
    };
    Err(
        Error::file(path, format_args!("is {what}, expected a text file"))
            .hint("unpack it, or save the sheet as CSV"),
    )
}

/// Iterates over the lines of a text with their numbers from 1; a line ends with LF, CRLF or a lone
/// CR.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut rest = Some(text);
    let next = move || {
        let text = rest?;
        let Some(at) = text.find(['\n', '\r']) else {
            rest = None;
            return (!text.is_empty()).then_some(text);
        };
        let length = if text[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[at + length..]);
        Some(&text[..at])
    };
    (1..).zip(std::iter::from_fn(next))
}

/// The beginning of a text, and a reader of all of it as UTF-8 (if the bytes are valid), without a
/// byte order mark and with line endings that contain an LF.
pub(crate) struct Opened<'a> {
    /// The beginning of the text, up to a few kilobytes.
    pub head: String,
    /// The whole text, including `head`.
    pub all: Box<dyn BufRead + 'a>,
}

/// Opens a reader of UTF-8 text without loading it all; text in other encodings is loaded
/// completely.
pub(crate) fn open<'a>(reader: impl Read + 'a, path: &Path) -> Result<Opened<'a>> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut head = Vec::new();
    let failed = |e: std::io::Error| Error::file(path, e);
    (reader.by_ref().take(HEAD).read_to_end(&mut head)).map_err(failed)?;
    refuse_archive(&head, path)?;
    let other = matches!(Encoding::for_bom(&head), Some((encoding, _)) if encoding != UTF_8)
        || utf16_without_mark(&head).is_some();
    let line_end = head.iter().position(|&b| matches!(b, b'\n' | b'\r'));
    let lone_cr = line_end.is_some_and(|at| head[at] == b'\r' && head.get(at + 1) != Some(&b'\n'));
    if other || lone_cr {
        reader.read_to_end(&mut head).map_err(failed)?;
        let mut text = decode(head, path)?;
        if !text.contains('\n') {
            text = text.replace('\r', "\n");
        }
        let head = text.chars().take(HEAD as usize).collect();
        let all = Box::new(Cursor::new(text.into_bytes()));
        return Ok(Opened { head, all });
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let all = Box::new(Cursor::new(head).chain(reader));
    Ok(Opened { head: text, all })
}

/// Number of bytes that [`open`] examines.
const HEAD: u64 = 1 << 14;

/// Describes what is wrong with the JSON `text` in this crate's wording, and where in its line. The
/// text may be empty if it is not in memory; then the description is less precise.
pub(crate) fn json_problem(error: &serde_json::Error, text: &[u8]) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let words = [
        ("invalid type: sequence", "found a list"),
        ("invalid type: map", "found an object"),
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
    ];
    let said = words
        .iter()
        .find_map(|(rust, said)| Some((said, message.strip_prefix(rust)?)));
    let message = said.map_or_else(
        || message.to_owned(),
        |(said, rest)| format!("{said}{rest}"),
    );
    let column = error.column();
    let line = text
        .split(|&b| b == b'\n')
        .nth(error.line().saturating_sub(1));
    let rest = line
        .and_then(|line| line.get(column.saturating_sub(2)..))
        .unwrap_or_default();
    let near = &rest[..rest.len().min(5)];
    let is_near = |word: &[u8]| near.windows(word.len()).any(|found| found == word);
    match error.classify() {
        serde_json::error::Category::Data => format!("at column {column}: {message}"),
        _ if is_near(b"NaN") || is_near(b"Inf") => format!(
            "malformed JSON at column {column}: `NaN` and `Infinity` are no JSON, write `null`"
        ),
        _ if text.is_empty() && message == "expected value" => format!(
            "malformed JSON at column {column}: expected a value (`NaN` and `Infinity` are none)"
        ),
        _ => format!("malformed JSON at column {column}: {message}"),
    }
}

/// Makes the error for a JSON text, with its line.
pub(crate) fn json_error(path: &Path, error: &serde_json::Error, text: &[u8]) -> Error {
    Error::line(path, error.line() as u64, json_problem(error, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn marks_and_declared_encodings_are_honoured() {
        let path = Path::new("a.txt");
        let text = "Äpfel,猫\nx";
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &utf16(text, u16::to_le_bytes)].concat(),
            [&b"\xfe\xff"[..], &utf16(text, u16::to_be_bytes)].concat(),
        ] {
            assert_eq!(decode(bytes.clone(), path).unwrap(), text);
            let mut read = String::new();
            let mut opened = open(bytes.as_slice(), path).unwrap();
            opened.all.read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
            assert_eq!(opened.head, text);
        }
        let plain = "image,labels\n";
        assert_eq!(decode(utf16(plain, u16::to_le_bytes), path).unwrap(), plain);
        let xml = |label: &str, name: &[u8]| {
            let head = format!("<?xml version='1.0' encoding = \"{label}\" ?><a>");
            let bytes = [head.as_bytes(), name, b"</a>"].concat();
            let text = decode_xml(bytes, path)?;
            Ok::<_, Error>(text.split(['>', '<']).nth(4).unwrap_or("").to_owned())
        };
        // The encoding of 猫 in GB2312 is also valid UTF-8, but for another character.
        assert_eq!(xml("gb2312", b"\xc3\xa8").unwrap(), "猫");
        assert_eq!(xml("UTF-8", b"\xc3\xa8").unwrap(), "è");
        assert_eq!(xml("ISO-8859-1", b"caf\xe9").unwrap(), "café");
        assert_eq!(xml("Shift_JIS", b"\x94\x4c").unwrap(), "猫");
        assert_eq!(xml("utf-16", b"cat").unwrap(), "cat");
        let error = xml("klingon", b"x").unwrap_err().to_string();
        assert!(
            error.contains("a.txt:1") && error.contains("klingon"),
            "{error}"
        );
        let error = xml("gb2312", b"\n\xff\xff").unwrap_err().to_string();
        assert!(error.starts_with("a.txt:2"), "{error}");
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        let error = |bytes: &[u8]| {
            decode(bytes.to_vec(), Path::new("a"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(b"a\nb\xff"), "a:2: the text is not UTF-8");
        assert!(error(b"PK\x03\x04....").contains("zip"));
        assert!(error(b"\x1f\x8b\x08").contains("gzip"));
    }

    #[test]
    fn any_end_of_line_counts() {
        let found: Vec<_> = lines("a\r\nb\rc\n\nd").collect();
        assert_eq!(found, [(1, "a"), (2, "b"), (3, "c"), (4, ""), (5, "d")]);
        assert_eq!(lines("").count(), 0);
        let mut text = String::new();
        let mut opened = open(&b"a,b\rc,d\r"[..], Path::new("a")).unwrap();
        opened.all.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a,b\nc,d\n");
    }
}
