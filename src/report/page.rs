//! The frame of every HTML page: one style sheet for screen, phone and paper, and one script, all
//! embedded in the file.

use minijinja::{Environment, Value};

use crate::error::{Error, Result};
use crate::wording::printable;

/// Renders `template`, which extends `base.html`; `file` is the name used in errors. The context
/// provides `title`, and `wide` for a page that uses the full width.
pub(super) fn render(file: &str, template: &str, context: Value) -> Result<String> {
    let failed = |e: minijinja::Error| Error::input(file, e);
    let mut environment = Environment::new();
    // The file extension turns on escaping: names come from the user's files.
    for (name, source) in [
        ("base.html", include_str!("page/base.html")),
        ("style.css", include_str!("page/style.css")),
        ("script.js", include_str!("page/script.js")),
        ("tile.html", include_str!("page/tile.html")),
        ("page.html", template),
    ] {
        environment.add_template(name, source).map_err(failed)?;
    }
    let template = environment.get_template("page.html").map_err(failed)?;
    Ok(printable(&template.render(context).map_err(failed)?))
}
