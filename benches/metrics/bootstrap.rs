//! Percentile bootstrap intervals of mAP, as fast as possible, as a comparison for the time of the
//! jackknife.

use dbloss::rng::Stream;
use rayon::prelude::*;

/// Number of resamples that are processed together, one in each lane of the vector registers.
const LANES: usize = 32;

/// An image in the ranking of a class.
struct Step {
    image: u32,
    positive: bool,
    ends_tie: bool,
}

/// Returns the ends of the 95 % percentile interval of the mAP over all classes, from `resamples`
/// resamples of the images. `scores` and `targets` are images x classes, with at most 65,535
/// images.
pub(super) fn percentile(
    scores: &[f32],
    targets: &[u8],
    classes: usize,
    resamples: usize,
) -> [f64; 2] {
    let images = targets.len() / classes;
    assert!(images <= usize::from(u16::MAX), "counts are of 16 bits");
    let rankings: Vec<Vec<Step>> = (0..classes)
        .into_par_iter()
        .map(|class| ranking(scores, targets, classes, class))
        .collect();
    let blocks: Vec<usize> = (0..resamples).step_by(LANES).collect();
    let mut means: Vec<f64> = (blocks.into_par_iter())
        .flat_map_iter(|start| {
            let drawn = draw(images, start);
            pulp::Arch::new().dispatch(|| means(&rankings, &drawn))
        })
        .collect();
    means.truncate(resamples);
    means.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|share| means[(share * (means.len() - 1) as f64) as usize])
}

fn ranking(scores: &[f32], targets: &[u8], classes: usize, class: usize) -> Vec<Step> {
    let score = |image: u32| scores[image as usize * classes + class];
    let mut order: Vec<u32> = (0..(targets.len() / classes) as u32).collect();
    order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)));
    (order.iter().enumerate())
        .map(|(k, &image)| Step {
            image,
            positive: targets[image as usize * classes + class] == 1,
            ends_tie: (order.get(k + 1)).is_none_or(|&next| score(next) != score(image)),
        })
        .collect()
}

/// Returns how often each image was drawn, for the resamples from `start` on.
fn draw(images: usize, start: usize) -> Vec<[u16; LANES]> {
    let mut drawn = vec![[0; LANES]; images];
    for (lane, index) in (start..start + LANES).enumerate() {
        let mut stream = Stream::new(0, "bootstrap", 0, index as u64);
        for _ in 0..images {
            drawn[stream.below(images)][lane] += 1;
        }
    }
    drawn
}

/// Returns the mAP in every lane, over the classes that have a positive there.
#[inline(always)]
fn means(rankings: &[Vec<Step>], drawn: &[[u16; LANES]]) -> [f64; LANES] {
    let (mut sums, mut defined) = ([0.0; LANES], [0.0; LANES]);
    for ranking in rankings {
        let (sum, found) = sums_of_precision(ranking, drawn);
        for lane in 0..LANES {
            if found[lane] > 0 {
                sums[lane] += sum[lane] / f64::from(found[lane]);
                defined[lane] += 1.0;
            }
        }
    }
    std::array::from_fn(|lane| sums[lane] / defined[lane])
}

/// Returns, for one class, the sum of the precision over its positives, and their number.
#[inline(always)]
fn sums_of_precision(ranking: &[Step], drawn: &[[u16; LANES]]) -> ([f64; LANES], [u16; LANES]) {
    let (mut taken, mut found, mut counted) = ([0u16; LANES], [0u16; LANES], [0u16; LANES]);
    let mut sum = [0.0; LANES];
    let mut new = false;
    for step in ranking {
        let weights = &drawn[step.image as usize];
        for lane in 0..LANES {
            taken[lane] += weights[lane];
        }
        if step.positive {
            for lane in 0..LANES {
                found[lane] += weights[lane];
            }
            new = true;
        }
        if new && step.ends_tie {
            for lane in 0..LANES {
                let precision = f64::from(found[lane]) / f64::from(taken[lane].max(1));
                sum[lane] += f64::from(found[lane] - counted[lane]) * precision;
            }
            counted = found;
            new = false;
        }
    }
    (sum, found)
}
