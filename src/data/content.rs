//! Detects from its first bytes what a file is when it is not what was expected.

/// A kind of file that is often found in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// What it is, worded to follow "the file is": "an HTML page".
    pub what: &'static str,
    /// Advice, if there is more to say than "give another file".
    pub remedy: Option<&'static str>,
}

/// Kinds of file, by the bytes at an offset.
const MAGIC: [(usize, &[u8], &str); 27] = [
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"\xfd7zXZ\0", "compressed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (4, b"ftypavi", "an AVIF picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypheix", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftyp", "a video"),
    (4, b"jP  \r\n", "a JPEG 2000 picture"),
    (4, b"JXL \r\n", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"DDS ", "a DDS picture"),
    (0, b"#?RADIANCE", "an HDR picture"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x80\x02", "a Python pickle"),
];

/// Detects what a file that begins with `bytes` is; `None` if unknown. A few hundred bytes are
/// enough.
pub fn of(bytes: &[u8]) -> Option<Content> {
    let plain = |what| Some(Content { what, remedy: None });
    if bytes.is_empty() {
        return plain("empty");
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Some(Content {
            what: "nothing but zeros",
            remedy: Some("copy or download it again: this happens when a copy is interrupted"),
        });
    }
    let known = (MAGIC.iter())
        .find(|(at, magic, _)| (bytes.get(*at..)).is_some_and(|rest| rest.starts_with(magic)));
    match known {
        Some((_, _, what)) => plain(what),
        None => of_text(bytes),
    }
}

/// Like [`of`], for text.
fn of_text(bytes: &[u8]) -> Option<Content> {
    let head = &bytes[..bytes.len().min(512)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may fall within a character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if (text.chars()).any(|c| c.is_control() && !c.is_ascii_whitespace()) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_ascii_lowercase();
    let (what, remedy) = if text.starts_with("version https://git-lfs") {
        (
            "a Git LFS pointer in place of the file",
            Some("fetch the file itself: `git lfs pull`"),
        )
    } else if lower.starts_with("<!doctype html") || lower.contains("<html") {
        (
            "an HTML page",
            Some("download it again: sites send such a page when they refuse a download"),
        )
    } else if lower.contains("<svg") {
        ("an SVG drawing", None)
    } else if lower.starts_with("<?xml") {
        ("an XML document", None)
    } else if text.starts_with(['{', '[']) {
        ("JSON text", None)
    } else {
        ("text", None)
    };
    Some(Content { what, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_called_by_their_names() {
        for (bytes, what) in [
            (&b""[..], "empty"),
            (&[0; 600], "nothing but zeros"),
            (b"\n <!DOCTYPE HTML><title>403", "an HTML page"),
            ("\u{feff}<HTML>".as_bytes(), "an HTML page"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "a Git LFS pointer in place of the file",
            ),
            (b"{\"error\": \"Repository not found\"}", "JSON text"),
            (b"PK\x03\x04\x14", "a zip archive"),
            (b"\0\0\0\x18ftypheic\0\0", "a HEIC picture"),
            (b"Not Found", "text"),
        ] {
            assert_eq!(of(bytes).map(|c| c.what), Some(what));
        }
        assert_eq!(of(&[1, 2, 3, 0xFE]), None);
        // A character cut in two at the end of the examined bytes.
        let long = format!("{}é", "a".repeat(511));
        assert_eq!(of(long.as_bytes()).map(|c| c.what), Some("text"));
    }
}
