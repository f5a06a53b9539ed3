//! The report about a split, as files.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::longtail;
use crate::data::split::Split;
use crate::error::Result;
use crate::io::write_text;
use crate::rows::{self, Cell, Tables, cell, number};

use super::{SplitStatistics, page, plots};

/// A statistic of the split, a row of `summary.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantity {
    /// The statistic's name.
    pub quantity: String,
    /// Its value; empty where undefined.
    #[serde(serialize_with = "number::full_or_empty")]
    pub value: Option<f64>,
}

/// The number of images with a given number of labels, a row of `labels_per_image.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelsRow {
    /// Number of labels of an image.
    pub labels: usize,
    /// Number of training images with that many labels.
    pub train: usize,
    /// Number of test images with that many labels.
    pub test: usize,
}

/// Writes the report into `folder`, which is created: `classes.csv`, `groups.csv`, `summary.csv`,
/// `labels_per_image.csv`, `samplers.csv`, `pairs.csv`, `co_occurrence.csv`,
/// `conditional_probability.csv`, the pictures `class_distribution.svg`, `co_occurrence.svg`,
/// `labels_per_image.svg`, and all of it as one page, `report.html`. `name` is the page's title.
pub fn write_report(split: &Split, name: &str, folder: &Path) -> Result<()> {
    let statistics = SplitStatistics::new(split)?;
    statistics.tables(split)?.write_report(folder)?;
    matrix(
        split,
        longtail::co_occurrence(&split.train)
            .iter()
            .map(u32::to_string),
        &folder.join("co_occurrence.csv"),
    )?;
    let conditional = longtail::conditional_probability(&split.train);
    matrix(
        split,
        (conditional.iter()).map(|p| cell(*p)),
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

impl SplitStatistics {
    /// Returns the tables of the report except for the two matrices: `classes`, `groups`,
    /// `summary`, `labels_per_image`, `samplers`, `pairs`.
    ///
    /// # Errors
    /// Fails if a table cannot be written.
    pub fn tables(&self, split: &Split) -> Result<Tables> {
        let mut tables = Tables::default();
        tables.add("classes", &self.classes)?;
        tables.add("groups", &self.groups)?;
        tables.add("summary", &summary(self).collect::<Vec<_>>())?;
        tables.add("labels_per_image", &histogram(self).collect::<Vec<_>>())?;
        samplers(split, self, &mut tables)?;
        tables.add("pairs", &self.pairs)?;
        Ok(tables)
    }
}

fn summary(statistics: &SplitStatistics) -> impl Iterator<Item = Quantity> {
    let count = |number: usize| Some(number as f64);
    let facts = [
        ("train_images", count(statistics.train_images)),
        (
            "validation_images",
            statistics.validation_images.and_then(count),
        ),
        ("test_images", count(statistics.test_images)),
        ("classes", count(statistics.classes.len())),
        ("imbalance_ratio", statistics.imbalance_ratio),
        ("labels_per_train_image", Some(statistics.labels_per_image)),
        ("labels_per_test_image", statistics.test_labels_per_image),
        (
            "most_labels_of_a_train_image",
            count(statistics.most_labels),
        ),
        ("train_images_without_label", count(statistics.unlabelled)),
        ("different_train_label_sets", count(statistics.label_sets)),
    ];
    facts.into_iter().map(|(quantity, value)| Quantity {
        quantity: quantity.to_owned(),
        value,
    })
}

fn histogram(statistics: &SplitStatistics) -> impl Iterator<Item = LabelsRow> {
    let (train, test) = (&statistics.train_histogram, &statistics.test_histogram);
    let of = |histogram: &[usize], labels: usize| histogram.get(labels).copied().unwrap_or(0);
    (0..train.len().max(test.len())).map(move |labels| LabelsRow {
        labels,
        train: of(train, labels),
        test: of(test, labels),
    })
}

/// Adds the table of the expected share of drawn images that show each class, one column per
/// sampler.
fn samplers(split: &Split, statistics: &SplitStatistics, tables: &mut Tables) -> Result<()> {
    let samplers = &statistics.samplers;
    let names = samplers.iter().map(|row| row.sampler.clone());
    let header: Vec<String> = ["class".to_owned()].into_iter().chain(names).collect();
    let row = |(class, name): (usize, &String)| {
        let frequencies = samplers.iter().map(|row| row.frequency[class]);
        let frequencies = frequencies.map(|frequency| Cell::Number(Some(frequency)));
        let name = Cell::Text(name.clone());
        [name].into_iter().chain(frequencies).collect()
    };
    let rows: Vec<Vec<Cell>> = split.classes().iter().enumerate().map(row).collect();
    tables.add_cells("samplers", &header, &rows)
}

/// Writes a C x C matrix with the class names as header and in the first column.
fn matrix(split: &Split, mut cells: impl Iterator<Item = String>, path: &Path) -> Result<()> {
    rows::write_with(path, |csv| {
        csv.write_field("class")?;
        let names = || split.classes().iter().map(|name| rows::shown(name));
        csv.write_record(names().map(Cow::into_owned))?;
        for name in names() {
            csv.write_field(name.as_bytes())?;
            csv.write_record(cells.by_ref().take(split.classes().len()))?;
        }
        Ok(())
    })
}
