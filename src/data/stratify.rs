//! Iterative stratification (Sechidis, Tsoumakas, Vlahavas, «On the Stratification of Multi-Label
//! Data», ECML PKDD 2011).

use crate::data::labels::LabelTable;
use crate::rng::Stream;

/// Assigns every image to one of `proportions.len()` parts such that each class is spread over the
/// parts according to the proportions (positive, with any sum). Returns the part of each image.
///
/// The class with the fewest remaining images is handled first. Each of its images goes to the part
/// that lacks most of that class; ties go to the part that lacks most images, then are resolved at
/// random.
pub fn iterative(table: &LabelTable, proportions: &[f64], seed: u64) -> Vec<usize> {
    let sum: f64 = proportions.iter().sum();
    let shares: Vec<f64> = proportions.iter().map(|p| p / sum).collect();
    let mut left = table.class_counts();
    // The number of images, and of images per class, that each part still lacks.
    let mut wants_images: Vec<f64> = shares.iter().map(|s| s * table.len() as f64).collect();
    let mut wants: Vec<Vec<f64>> = (shares.iter())
        .map(|s| left.iter().map(|&n| s * n as f64).collect())
        .collect();
    let mut part = vec![usize::MAX; table.len()];
    let mut stream = Stream::new(seed, "stratify", 0, 0);
    let by_class = table.images_by_class();

    let mut assign =
        |image: usize, class: Option<usize>, part: &mut [usize], left: &mut [usize]| {
            let better = |a: usize, b: usize| {
                let of_class = class.map_or(std::cmp::Ordering::Equal, |c| {
                    wants[a][c].total_cmp(&wants[b][c])
                });
                of_class.then(wants_images[a].total_cmp(&wants_images[b]))
            };
            let mut best: Vec<usize> = Vec::with_capacity(shares.len());
            for candidate in 0..shares.len() {
                match best.first().map(|&b| better(candidate, b)) {
                    None | Some(std::cmp::Ordering::Equal) => best.push(candidate),
                    Some(std::cmp::Ordering::Greater) => best = vec![candidate],
                    Some(std::cmp::Ordering::Less) => {}
                }
            }
            let chosen = match best.as_slice() {
                [only] => *only,
                several => several[stream.below(several.len())],
            };
            part[image] = chosen;
            wants_images[chosen] -= 1.0;
            for &c in table.labels(image) {
                wants[chosen][c as usize] -= 1.0;
                left[c as usize] -= 1;
            }
        };

    while let Some(class) = (0..left.len())
        .filter(|&c| left[c] > 0)
        .min_by_key(|&c| left[c])
    {
        for &image in &by_class[class] {
            if part[image as usize] == usize::MAX {
                assign(image as usize, Some(class), &mut part, &mut left);
            }
        }
    }
    for image in 0..table.len() {
        if part[image] == usize::MAX {
            assign(image, None, &mut part, &mut left);
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 600 images: a common class, one in six, one in thirty, and pictures without labels.
    fn table() -> LabelTable {
        let mut table = LabelTable::new(["a", "b", "c"].map(String::from).to_vec());
        for i in 0..600u32 {
            let labels = (0..3u32).filter(|&c| match c {
                0 => i % 5 != 0,
                1 => i % 6 == 1,
                _ => i % 30 == 7,
            });
            table.push(i.to_string(), labels);
        }
        table
    }

    #[test]
    fn every_class_is_spread_as_the_proportions_say() {
        let table = table();
        for seed in 0..5 {
            let part = iterative(&table, &[3.0, 1.0, 1.0], seed);
            for (which, share) in [(0, 0.6), (1, 0.2), (2, 0.2)] {
                let images: Vec<usize> = (0..600).filter(|&i| part[i] == which).collect();
                let wanted = 600.0 * share;
                assert!(
                    (images.len() as f64 - wanted).abs() <= 3.0,
                    "{}",
                    images.len()
                );
                let counts = table.subset(&images).class_counts();
                for (n, all) in counts.into_iter().zip(table.class_counts()) {
                    // The 20 images of the rarest class are divided as 12 / 4 / 4.
                    assert!((n as f64 - all as f64 * share).abs() <= 1.5, "{n} of {all}");
                }
            }
        }
    }

    #[test]
    fn parts_depend_on_the_seed_alone() {
        let table = table();
        assert_eq!(
            iterative(&table, &[1.0, 1.0], 3),
            iterative(&table, &[1.0, 1.0], 3)
        );
        assert_ne!(
            iterative(&table, &[1.0, 1.0], 3),
            iterative(&table, &[1.0, 1.0], 4)
        );
    }
}
