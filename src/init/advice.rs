//! Settings that suit the number of pictures and the machine, each with its reason.

use crate::data::labels::GroupThresholds;

/// What the settings depend on.
#[derive(Debug, Clone)]
pub struct Situation {
    /// Number of training pictures, without those held out.
    pub images: usize,
    /// Number of training pictures per class.
    pub counts: Vec<usize>,
    /// The typical length of a picture's longer side in pixels, if known.
    pub side: Option<u32>,
    /// Whether training will use a GPU.
    pub has_gpu: bool,
}

/// Returns the fractions of `images` pictures to hold out: for validation (thresholds and
/// checkpoints), 0 for none, and for testing, 0 if the source already has a test set (`has_test`).
pub fn parts(images: usize, has_test: bool) -> (f64, f64) {
    let test = if has_test { 0.0 } else { 0.2 };
    let validation = match (images as f64 * (1.0 - test)) as usize {
        ..20 => 0.0,
        20..500 => 0.15,
        _ => 0.1,
    };
    (validation, test)
}

/// The recommended settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Number of training pictures, all of which are shown in an epoch.
    pub images: usize,
    /// Bounds of the head and tail groups.
    pub groups: GroupThresholds,
    /// The backbone.
    pub backbone: &'static str,
    /// Its weights on the hub.
    pub weights: &'static str,
    /// Side length of the network's input in pixels.
    pub size: u32,
    /// Pictures per batch.
    pub batch_size: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// The peak learning rate: the published 0.02 for 32 pictures per batch, scaled in proportion.
    pub learning_rate: f64,
    /// What the user should check, one sentence each.
    pub doubts: Vec<String>,
}

impl Advice {
    /// Recommends settings for a situation.
    pub fn new(situation: &Situation) -> Self {
        let images = situation.images;
        let batch_size = match images {
            ..16 => 2,
            16..500 => 8,
            500..5000 => 16,
            _ => 32,
        };
        let epochs = match images {
            ..500 => 20,
            500..5000 => 12,
            _ => 8,
        };
        let (backbone, weights) = match situation.has_gpu && images >= 2000 {
            true => ("resnet50", "timm/resnet50.tv_in1k"),
            false => ("resnet18", "timm/resnet18.tv_in1k"),
        };
        let counts = &situation.counts;
        let few = counts.iter().filter(|&&count| count < 10).count();
        let mut doubts = Vec::new();
        if few > 0 {
            let classes = crate::wording::counted(few, "class");
            doubts.push(format!(
                "{classes} with fewer than 10 pictures: expect poor and uncertain results on them"
            ));
        }
        Advice {
            images,
            groups: groups(counts),
            backbone,
            weights,
            size: size(situation.side),
            batch_size,
            epochs,
            learning_rate: 0.02 * batch_size as f64 / 32.0,
            doubts,
        }
    }
}

/// Returns the side of the network's input: what the weights expect, or less if pictures are small.
fn size(side: Option<u32>) -> u32 {
    match side {
        Some(side) if side < 160 => side.next_multiple_of(32).clamp(32, 224),
        _ => 224,
    }
}

/// Returns the published bounds, or thirds of the classes if those would leave head or tail empty.
fn groups(counts: &[usize]) -> GroupThresholds {
    let usual = GroupThresholds::default();
    let mut sorted = counts.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let (Some(&most), Some(&fewest)) = (sorted.first(), sorted.last()) else {
        return usual;
    };
    if most >= usual.head && fewest < usual.medium {
        return usual;
    }
    let at = |part: usize| sorted[(sorted.len() * part / 3).min(sorted.len() - 1)].max(1);
    let medium = at(2);
    GroupThresholds {
        head: at(1).max(medium + 1),
        medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_amount_gets_settings_that_hold_together() {
        for images in [2, 10, 19, 30, 100, 600, 3000, 100_000] {
            let advice = Advice::new(&Situation {
                images,
                counts: vec![images, images / 2, images / 10],
                side: Some(90),
                has_gpu: false,
            });
            assert!(advice.batch_size <= images, "{images}: {advice:?}");
            assert!(advice.groups.head > advice.groups.medium);
            assert_eq!(advice.size, 96);
            let (validation, test) = parts(images, true);
            assert!(test == 0.0 && (validation == 0.0) == (images < 20));
            assert_eq!(parts(images, false).1, 0.2);
        }
        let published = groups(&[800, 50, 3]);
        assert_eq!(published, GroupThresholds::default());
        let small = groups(&[30, 30, 12, 12, 4, 2]);
        assert_eq!((small.head, small.medium), (12, 4));
    }
}
