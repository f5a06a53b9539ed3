//! Pictures sorted into one folder a class.

use std::path::Path;

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::picture;
use crate::error::{Error, Result};

/// Reads `<root>/<class>/**/<picture>`, sorted by name. Each picture has its folder's class.
pub(crate) fn read_rows(root: &Path, classes: &mut ClassIndex) -> Result<Rows> {
    let mut rows = Rows::new();
    for (name, path, is_folder) in entries(root)? {
        if !is_folder {
            continue;
        }
        let class = classes
            .get(&name)
            .ok_or_else(|| classes.unknown(path.display(), &name))?;
        walk(&path, &name, 0, &mut |image| {
            rows.push((image, vec![class]))
        })?;
    }
    if rows.is_empty() {
        return Err(
            Error::file(root, "holds no pictures in class folders").hint(format_args!(
                "expected `<class>/<picture>` with the endings {}",
                picture::endings().collect::<Vec<_>>().join(", ")
            )),
        );
    }
    Ok(rows)
}

/// Folders in folders deeper than this are taken for a link that leads back.
const DEEPEST: usize = 16;

fn walk(folder: &Path, prefix: &str, depth: usize, found: &mut dyn FnMut(String)) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::file(folder, "the folders are nested too deeply"));
    }
    for (name, path, is_folder) in entries(folder)? {
        let relative = format!("{prefix}/{name}");
        if is_folder {
            walk(&path, &relative, depth + 1, found)?;
        } else if picture::has_picture_ending(&name) {
            found(relative);
        }
    }
    Ok(())
}

/// Name, path, and whether it is a folder, of what lies in `folder`, sorted; hidden files are
/// passed over.
pub(crate) fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf, bool)>> {
    let mut entries = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(Error::file(&path, "the file's name is not UTF-8"));
        };
        if name.starts_with('.') {
            continue;
        }
        let (name, is_folder) = (name.to_owned(), path.is_dir());
        entries.push((name, path, is_folder));
    }
    entries.sort();
    Ok(entries)
}
