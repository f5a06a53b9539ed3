//! The frame of every HTML page: one style sheet for screen, phone and paper, and one script, all
//! in the file itself.

use minijinja::{Environment, Value};

use crate::error::{Error, Result};
use crate::wording::printable;

/// Fills `template`, which extends `base.html`; `file` is named in errors. The context gives
/// `title`, and `wide` for a page that takes all the width there is.
pub(super) fn render(file: &str, template: &str, context: Value) -> Result<String> {
    let failed = |e: minijinja::Error| Error::input(file, e);
    let mut environment = Environment::new();
    // The ending turns on escaping: names come from the user's files.
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
