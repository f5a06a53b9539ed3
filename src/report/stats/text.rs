//! The class table for the terminal.

use std::fmt::Write;

use crate::data::labels::Group;
use crate::data::split::Split;

use super::SplitStatistics;

/// Largest width of a bar, in characters.
const BAR_WIDTH: usize = 30;
/// Above this number of classes only the largest and the smallest are listed.
const MAX_LISTED: usize = 120;
/// Number of classes listed at each end in that case.
const LISTED_AT_END: usize = 40;

/// Formats one line per class by decreasing training count, with a bar, and the totals below.
pub fn class_table(split: &Split) -> String {
    let train = split.train.class_counts();
    let test = split.test.class_counts();
    let mut order: Vec<usize> = (0..train.len()).collect();
    order.sort_by_key(|&c| std::cmp::Reverse(train[c]));
    let largest = order.first().map_or(0, |&c| train[c]);
    let name_width = (split.classes().iter())
        .map(|name| name.chars().count())
        .chain([5])
        .max()
        .unwrap_or(5);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:name_width$}  {:6}  {:>7}  {:>7}",
        "class", "group", "train", "test"
    );
    let left_out = match order.len() > MAX_LISTED {
        true => LISTED_AT_END..order.len() - LISTED_AT_END,
        false => 0..0,
    };
    for (place, &c) in order.iter().enumerate() {
        if left_out.contains(&place) {
            if place == left_out.start {
                let _ = writeln!(text, "... {} more classes ...", left_out.len());
            }
            continue;
        }
        let _ = writeln!(
            text,
            "{:name_width$}  {:6}  {:>7}  {:>7}  {}",
            split.classes()[c],
            split.groups[c],
            train[c],
            test[c],
            bar(train[c], largest)
        );
    }
    let labels = split.train.num_labels();
    let images = split.train.len();
    let most = (0..images).map(|i| split.train.labels(i).len()).max();
    let _ = writeln!(
        text,
        "\n{images} training images, {} test images{}; {:.2} labels per training image, at most {}",
        split.test.len(),
        match &split.validation {
            Some(validation) => format!(", {} validation images", validation.len()),
            None => String::new(),
        },
        labels as f64 / images.max(1) as f64,
        most.unwrap_or(0),
    );
    let sizes = Group::ALL.map(|group| {
        let size = split.groups.iter().filter(|g| **g == group).count();
        format!("{size} {group}")
    });
    let _ = writeln!(
        text,
        "{} classes: {} (head from {} images, tail below {})",
        train.len(),
        sizes.join(", "),
        split.thresholds.head,
        split.thresholds.medium
    );
    text
}

/// Draws a bar in eighths of a character; a class with images always has a visible bar.
fn bar(count: usize, largest: usize) -> String {
    if count == 0 || largest == 0 {
        return String::new();
    }
    let eighths = (count * BAR_WIDTH * 8).div_ceil(largest);
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = [
        None,
        Some('▏'),
        Some('▎'),
        Some('▍'),
        Some('▌'),
        Some('▋'),
        Some('▊'),
        Some('▉'),
    ][eighths % 8]
    {
        bar.push(part);
    }
    bar
}

/// Formats the statistics shown with the class table: imbalance, groups, the most probable pairs.
pub fn summary(statistics: &SplitStatistics) -> String {
    let mut text = String::new();
    let ratio = match statistics.imbalance_ratio {
        Some(ratio) => format!("{ratio:.1}"),
        None => "undefined, a class has no training image".into(),
    };
    let _ = writeln!(text, "imbalance ratio: {ratio}");
    let _ = writeln!(
        text,
        "label sets: {} different, {} training images without label",
        statistics.label_sets, statistics.unlabelled
    );
    let _ = writeln!(
        text,
        "\n{:6}  {:>7}  {:>12}  {:>12}  {:>11}  {:>11}",
        "group", "classes", "train images", "train labels", "test images", "test labels"
    );
    for row in &statistics.groups {
        let _ = writeln!(
            text,
            "{:6}  {:>7}  {:>12}  {:>12}  {:>11}  {:>11}",
            row.group,
            row.classes,
            row.train_images,
            row.train_labels,
            row.test_images,
            row.test_labels
        );
    }
    let _ = writeln!(
        text,
        "\n{:14}  {:>12}  {:>9}  {:>7}  {:>7}  {:>7}",
        "sampler", "epoch images", "imbalance", "head", "medium", "tail"
    );
    for row in &statistics.samplers {
        let imbalance = row.imbalance.map_or(String::new(), |i| format!("{i:.1}"));
        let _ = write!(
            text,
            "{:14}  {:>12}  {imbalance:>9}",
            row.sampler, row.epoch_length
        );
        for mean in &row.group_mean {
            let mean = mean.map_or(String::new(), |m| format!("{:.2} %", m * 100.0));
            let _ = write!(text, "  {mean:>7}");
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "(a class's expected part of the images drawn, mean over a group)"
    );
    if !statistics.pairs.is_empty() {
        let _ = writeln!(
            text,
            "\nclasses that come together (part of the first class's images)"
        );
    }
    for pair in statistics.pairs.iter().take(8) {
        let _ = writeln!(
            text,
            "{:>6.1} %  {} -> {} ({} images)",
            pair.probability * 100.0,
            pair.given,
            pair.class,
            pair.images
        );
    }
    text
}
