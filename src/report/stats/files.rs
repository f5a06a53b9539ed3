//! The report of a split as files.

use std::path::Path;

use crate::data::longtail;
use crate::data::split::Split;
use crate::error::Result;
use crate::io::{write_atomic, write_text};

use super::{SplitStatistics, page, plots};

/// Writes the report into `folder`, which is made: `classes.csv`, `groups.csv`, `summary.csv`,
/// `labels_per_image.csv`, `samplers.csv`, `co_occurrence.csv`, `conditional_probability.csv`, the pictures
/// `class_distribution.svg`, `co_occurrence.svg`, `labels_per_image.svg`, and all of it as one
/// page, `report.html`. `name` is the page's title.
pub fn write_report(split: &Split, name: &str, folder: &Path) -> Result<()> {
    let statistics = SplitStatistics::new(split)?;
    rows(&folder.join("classes.csv"), &statistics.classes)?;
    rows(&folder.join("groups.csv"), &statistics.groups)?;
    summary(&statistics, &folder.join("summary.csv"))?;
    histogram(&statistics, &folder.join("labels_per_image.csv"))?;
    matrix(
        split,
        longtail::co_occurrence(&split.train)
            .iter()
            .map(u32::to_string),
        &folder.join("co_occurrence.csv"),
    )?;
    samplers(split, &statistics, &folder.join("samplers.csv"))?;
    let conditional = longtail::conditional_probability(&split.train);
    matrix(
        split,
        (conditional.iter()).map(|p| p.map_or(String::new(), |p| p.to_string())),
        &folder.join("conditional_probability.csv"),
    )?;
    let pictures = [
        (
            "class_distribution.svg",
            plots::class_distribution(&statistics, split.thresholds)?,
        ),
        (
            "co_occurrence.svg",
            plots::co_occurrence(&statistics, &conditional)?,
        ),
        (
            "labels_per_image.svg",
            plots::labels_per_image(&statistics)?,
        ),
    ];
    for (file, svg) in &pictures {
        write_text(&folder.join(file), svg)?;
    }
    let page = page::render(split, &statistics, name, &pictures)?;
    write_text(&folder.join("report.html"), &page)
}

fn csv_error(error: csv::Error) -> std::io::Error {
    std::io::Error::other(error)
}

/// Writes serialisable rows with a header.
fn rows<T: serde::Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    write_atomic(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        for row in rows {
            csv.serialize(row).map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    })
}

fn summary(statistics: &SplitStatistics, path: &Path) -> Result<()> {
    let optional = |number: Option<f64>| number.map_or(String::new(), |n| n.to_string());
    let facts = [
        ("train_images", statistics.train_images.to_string()),
        (
            "validation_images",
            optional(statistics.validation_images.map(|n| n as f64)),
        ),
        ("test_images", statistics.test_images.to_string()),
        ("classes", statistics.classes.len().to_string()),
        ("imbalance_ratio", optional(statistics.imbalance_ratio)),
        (
            "labels_per_train_image",
            statistics.labels_per_image.to_string(),
        ),
        (
            "labels_per_test_image",
            optional(statistics.test_labels_per_image),
        ),
        (
            "most_labels_of_a_train_image",
            statistics.most_labels.to_string(),
        ),
        (
            "train_images_without_label",
            statistics.unlabelled.to_string(),
        ),
        (
            "different_train_label_sets",
            statistics.label_sets.to_string(),
        ),
    ];
    write_atomic(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(["quantity", "value"]).map_err(csv_error)?;
        for (quantity, value) in &facts {
            csv.write_record([quantity, value.as_str()])
                .map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    })
}

fn histogram(statistics: &SplitStatistics, path: &Path) -> Result<()> {
    let (train, test) = (&statistics.train_histogram, &statistics.test_histogram);
    write_atomic(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(["labels", "train", "test"])
            .map_err(csv_error)?;
        for labels in 0..train.len().max(test.len()) {
            let of = |histogram: &[usize]| histogram.get(labels).copied().unwrap_or(0).to_string();
            csv.write_record([labels.to_string(), of(train), of(test)])
                .map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    })
}

/// Writes the expected part of the drawn images that show each class, one column a sampler.
fn samplers(split: &Split, statistics: &SplitStatistics, path: &Path) -> Result<()> {
    write_atomic(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_field("class").map_err(csv_error)?;
        let names = statistics.samplers.iter().map(|row| &row.sampler);
        csv.write_record(names).map_err(csv_error)?;
        for (class, name) in split.classes().iter().enumerate() {
            csv.write_field(name).map_err(csv_error)?;
            let cells = statistics
                .samplers
                .iter()
                .map(|row| row.frequency[class].to_string());
            csv.write_record(cells).map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    })
}

/// Writes a C x C matrix with class names as header and in the first column.
fn matrix(split: &Split, mut cells: impl Iterator<Item = String>, path: &Path) -> Result<()> {
    write_atomic(path, |writer| {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_field("class").map_err(csv_error)?;
        csv.write_record(split.classes()).map_err(csv_error)?;
        for name in split.classes() {
            csv.write_field(name).map_err(csv_error)?;
            csv.write_record(cells.by_ref().take(split.classes().len()))
                .map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    })
}
