//! Lists and documentation pages.

use super::*;
use crate::loss::pages;

fn docs() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/losses")
}

/// The pages in `docs/losses` match the table of losses. `DBLOSS_WRITE_DOCS=1` writes them.
#[test]
fn the_documentation_pages_are_those_of_the_table() {
    let mut pages = vec![("README.md".to_string(), pages::index(".md").unwrap())];
    for sheet in pages::sheets().unwrap() {
        pages.push((format!("{}.md", sheet.name), pages::page(&sheet)));
    }
    let write = std::env::var_os("DBLOSS_WRITE_DOCS").is_some();
    for (name, expected) in &pages {
        let path = docs().join(name);
        if write {
            crate::io::write_text(&path, expected).unwrap();
        }
        let found = fs_err::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *expected,
            "docs/losses/{name} is not that of the table; write it with DBLOSS_WRITE_DOCS=1"
        );
    }
    for entry in fs_err::read_dir(docs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = pages.iter().any(|(page, _)| *page == name);
        assert!(known, "docs/losses/{name} is the page of no loss");
    }
}

/// Every `[loss]` table printed on a page is accepted.
#[test]
fn examples_of_the_pages_are_accepted() {
    let mut read = 0;
    for entry in fs_err::read_dir(docs()).unwrap() {
        let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let table: toml::Table = block.parse().unwrap();
            let loss = table["loss"].as_table().unwrap();
            let config = LossConfig::from_table(loss, &"loss".into())
                .unwrap_or_else(|e| panic!("{e}: {block}"));
            config.build(&frequency()).unwrap();
            read += 1;
        }
    }
    assert!(read > definitions().len(), "{read}");
}
