//! Image-level labels: which of C classes each image shows, and statistics of the class counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Labels of N images over C classes, stored row by row (compressed sparse rows).
///
/// The labels of an image are class indices, ascending and without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelTable {
    classes: Vec<String>,
    images: Vec<String>,
    offsets: Vec<usize>,
    labels: Vec<u32>,
}

impl LabelTable {
    /// Creates an empty table over `classes`.
    pub fn new(classes: Vec<String>) -> Self {
        LabelTable {
            classes,
            images: Vec::new(),
            offsets: vec![0],
            labels: Vec::new(),
        }
    }

    /// Adds an image. Labels may come in any order and repeat; each must be a class index below
    /// [`num_classes`](Self::num_classes).
    pub fn push(&mut self, image: impl Into<String>, labels: impl IntoIterator<Item = u32>) {
        let start = self.labels.len();
        self.labels.extend(labels);
        self.labels[start..].sort_unstable();
        let mut kept = start;
        for i in start..self.labels.len() {
            if i == start || self.labels[i] != self.labels[kept - 1] {
                self.labels[kept] = self.labels[i];
                kept += 1;
            }
        }
        self.labels.truncate(kept);
        debug_assert!(
            self.labels[start..]
                .iter()
                .all(|&c| (c as usize) < self.classes.len())
        );
        self.images.push(image.into());
        self.offsets.push(kept);
    }

    /// Returns the number of images, N.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Returns true if there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Returns the number of classes, C.
    pub fn num_classes(&self) -> usize {
        self.classes.len()
    }

    /// Returns the class names, in index order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Returns the image names: paths relative to the root of the pictures.
    pub fn images(&self) -> &[String] {
        &self.images
    }

    /// Returns the name of image `i`.
    pub fn image(&self, i: usize) -> &str {
        &self.images[i]
    }

    /// Returns the classes of image `i`, ascending.
    pub fn labels(&self, i: usize) -> &[u32] {
        &self.labels[self.offsets[i]..self.offsets[i + 1]]
    }

    /// Returns the number of labels over all images.
    pub fn num_labels(&self) -> usize {
        self.labels.len()
    }

    /// Returns n_c, the number of images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.num_classes()];
        for &class in &self.labels {
            counts[class as usize] += 1;
        }
        counts
    }

    /// Returns the indices of the images of each class, ascending.
    pub fn images_by_class(&self) -> Vec<Vec<u32>> {
        let mut by_class: Vec<Vec<u32>> = (self.class_counts().iter())
            .map(|&n| Vec::with_capacity(n))
            .collect();
        for i in 0..self.len() {
            for &class in self.labels(i) {
                by_class[class as usize].push(i as u32);
            }
        }
        by_class
    }

    /// Returns a table of the images `indices`, in that order.
    pub fn subset(&self, indices: &[usize]) -> LabelTable {
        let mut table = LabelTable::new(self.classes.clone());
        for &i in indices {
            table.push(self.images[i].clone(), self.labels(i).iter().copied());
        }
        table
    }

    /// Returns a table of the same images with only the classes whose flag in `keep` is set.
    pub fn only_classes(&self, keep: &[bool]) -> LabelTable {
        let mut names = Vec::new();
        let place = (self.classes.iter().zip(keep)).map(|(name, &keep)| {
            keep.then(|| {
                names.push(name.clone());
                names.len() as u32 - 1
            })
        });
        let place: Vec<Option<u32>> = place.collect();
        self.in_classes(names, &place)
    }

    /// Returns a table of the same images over `classes`. `place` gives the new index of each class
    /// of this table, or `None` to leave the class out.
    pub fn in_classes(&self, classes: Vec<String>, place: &[Option<u32>]) -> LabelTable {
        let mut table = LabelTable::new(classes);
        for i in 0..self.len() {
            let labels = self.labels(i).iter();
            let labels = labels.filter_map(|&class| *place.get(class as usize)?);
            table.push(self.image(i), labels);
        }
        table
    }

    /// Writes the labels of image `i` as 0 and 1 into `row`, which has length C.
    pub fn fill_targets(&self, i: usize, row: &mut [f32]) {
        row.fill(0.0);
        for &class in self.labels(i) {
            row[class as usize] = 1.0;
        }
    }

    /// Returns the labels of `images` as 0 and 1, a matrix of images x C in row-major order.
    pub fn targets_of(&self, images: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let mut targets = Vec::new();
        for image in images {
            let start = targets.len();
            targets.resize(start + self.num_classes(), 0.0);
            self.fill_targets(image, &mut targets[start..]);
        }
        targets
    }

    /// Returns the class counts and N, in the form used by losses and samplers.
    pub fn class_frequency(&self) -> ClassFrequency {
        ClassFrequency {
            counts: self.class_counts(),
            num_images: self.len(),
        }
    }
}

/// n_c for every class and N, for a training set (paper, section 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassFrequency {
    /// n_c: training images with class c; 0 if there are none.
    pub counts: Vec<usize>,
    /// N: number of training images.
    pub num_images: usize,
}

/// Class group by number of training images (paper, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// n at or above the head threshold (100).
    Head,
    /// n between the thresholds.
    Medium,
    /// n below the tail threshold (20).
    Tail,
}

impl Group {
    /// All groups, in the order used in every table.
    pub const ALL: [Group; 3] = [Group::Head, Group::Medium, Group::Tail];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Group::Head => "head",
            Group::Medium => "medium",
            Group::Tail => "tail",
        })
    }
}

/// Bounds of the class groups: head n >= `head`, tail n < `medium`, medium between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupThresholds {
    /// Fewest training images of a head class; 100 in the paper.
    pub head: usize,
    /// Fewest training images of a medium class; 20 in the paper. In files it is the key `tail`, the
    /// bound below which the tail lies.
    #[serde(rename = "tail")]
    pub medium: usize,
}

impl Default for GroupThresholds {
    fn default() -> Self {
        GroupThresholds {
            head: 100,
            medium: 20,
        }
    }
}

impl GroupThresholds {
    /// Returns the group of a class with `count` training images.
    pub fn group(&self, count: usize) -> Group {
        if count >= self.head {
            Group::Head
        } else if count >= self.medium {
            Group::Medium
        } else {
            Group::Tail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LabelTable {
        let mut table = LabelTable::new(vec!["cat".into(), "dog".into(), "person".into()]);
        table.push("a.jpg", [2, 0, 2]);
        table.push("b.jpg", []);
        table.push("c.jpg", [2]);
        table
    }

    #[test]
    fn duplicates_and_order_of_labels_do_not_matter() {
        let table = table();
        assert_eq!(table.labels(0), [0, 2]);
        assert!(table.labels(1).is_empty());
        assert_eq!(table.class_counts(), [1, 0, 2]);
        assert_eq!(table.images_by_class(), [vec![0], vec![], vec![0, 2]]);
        let subset = table.subset(&[2, 0]);
        assert_eq!(subset.images(), ["c.jpg", "a.jpg"]);
        assert_eq!(subset.class_counts(), [1, 0, 2]);
    }

    #[test]
    fn group_bounds_are_those_of_the_paper() {
        let thresholds = GroupThresholds::default();
        let groups = [100, 99, 20, 19, 0].map(|n| thresholds.group(n));
        use Group::*;
        assert_eq!(groups, [Head, Medium, Medium, Tail, Tail]);
    }
}
