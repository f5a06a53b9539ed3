//! The files of a report.

use std::path::Path;

use super::{Study, latex, page, plots};
use crate::error::{Error, Result};
use crate::io::{write_atomic, write_text};
use crate::report::table::{cell, csv_field};

/// Writes the tables, the pictures and the page.
pub(super) fn write(study: &Study, folder: &Path) -> Result<()> {
    let pictures = plots::draw(study)?;
    for (name, svg) in &pictures {
        write_text(&folder.join(name), svg)?;
    }
    let texts = [
        ("table.csv", study.csv()),
        ("table.md", study.markdown()),
        ("table.tex", latex::table(study)),
        ("per_class.csv", study.per_class_csv()),
        ("per_class.tex", latex::per_class(study)),
        ("report.tex", latex::document(study)),
        ("runs.csv", runs(study)),
        ("settings.csv", settings(study)),
        ("index.html", page::render(study, &pictures)?),
    ];
    for (name, text) in texts {
        write_text(&folder.join(name), &text)?;
    }
    tests(study, &folder.join("tests.csv"))
}

/// Every run, those that are left out with the reason.
fn runs(study: &Study) -> String {
    let mut text = String::from(
        "method,seed,total,head,medium,tail,train_seconds,images_per_second,split,folder,left_out\n",
    );
    for run in &study.runs {
        let manifest = &run.manifest;
        let scores = run.groups.means().map(cell).join(",");
        let speed = manifest.images_per_second();
        text.push_str(&format!(
            "{},{},{scores},{:.1},{},{},{},\n",
            csv_field(&run.method),
            manifest.seed,
            manifest.train_seconds,
            speed.map_or(String::new(), |speed| format!("{speed:.2}")),
            manifest.split_hash,
            csv_field(&run.folder.display().to_string()),
        ));
    }
    for out in &study.left_out {
        text.push_str(&format!(
            "{},{},,,,,,,,{},{}\n",
            csv_field(&out.method),
            out.seed,
            csv_field(&out.folder.display().to_string()),
            csv_field(&out.reason),
        ));
    }
    text
}

fn settings(study: &Study) -> String {
    let mut text = String::from("key");
    for method in &study.methods {
        text.push(',');
        text.push_str(&csv_field(&method.name));
    }
    text.push('\n');
    for setting in &study.settings {
        text.push_str(&csv_field(&setting.key));
        for value in &setting.values {
            text.push(',');
            text.push_str(&csv_field(value));
        }
        text.push('\n');
    }
    text
}

fn tests(study: &Study, path: &Path) -> Result<()> {
    const HEADER: [&str; 11] = [
        "method",
        "baseline",
        "classes",
        "test",
        "pairs",
        "difference",
        "low",
        "high",
        "statistic",
        "p_value",
        "p_holm",
    ];
    let failed = |e: csv::Error| Error::file(path, e);
    write_atomic(path, |writer| {
        // The header is there even where there is nothing to compare.
        let mut csv = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(writer);
        csv.write_record(HEADER).map_err(failed)?;
        for test in study.tests() {
            csv.serialize(test).map_err(failed)?;
        }
        Ok(csv.flush()?)
    })
}
