//! Draws a training set that is as balanced as its pool allows.

use crate::data::labels::LabelTable;
use crate::rng::Stream;

/// Draws `images` images of `table` (all of them if it has no more) such that the rarest class gets
/// as many images as possible. Images are drawn one at a time for the class that has the fewest so
/// far and has any left, each time choosing the image that adds the least to the sum of squared
/// counts, so that common classes are included as rarely as possible. Ties are resolved by a
/// shuffle with `seed`. Images without labels come last. Returns the indices of the images,
/// ascending.
pub fn draw(table: &LabelTable, images: usize, seed: u64) -> Vec<usize> {
    let wanted = images.min(table.len());
    let mut shuffled: Vec<usize> = (0..table.len()).collect();
    Stream::new(seed, "balance", 0, 0).shuffle(&mut shuffled);
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); table.num_classes()];
    for &image in &shuffled {
        for &class in table.labels(image) {
            of_class[class as usize].push(image);
        }
    }
    let mut selected = vec![false; table.len()];
    let mut counts = vec![0usize; table.num_classes()];
    let mut drawn = 0;
    while drawn < wanted {
        let rarest = (0..counts.len())
            .filter(|&class| !of_class[class].is_empty())
            .min_by_key(|&class| counts[class]);
        if let Some(class) = rarest {
            of_class[class].retain(|&image| !selected[image]);
            if of_class[class].is_empty() {
                continue;
            }
        }
        // Each label increases the sum of squares by 2 n + 1.
        let cost = |image: &usize| -> usize {
            let labels = table.labels(*image).iter();
            labels.map(|&class| 2 * counts[class as usize] + 1).sum()
        };
        let next = match rarest {
            Some(class) => of_class[class].iter().copied().min_by_key(cost),
            None => shuffled.iter().copied().find(|&image| !selected[image]),
        };
        let Some(image) = next else { break };
        selected[image] = true;
        drawn += 1;
        for &class in table.labels(image) {
            counts[class as usize] += 1;
        }
    }
    (0..table.len()).filter(|&image| selected[image]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool in which most pictures of b or c also show a.
    fn pool() -> LabelTable {
        let mut table = LabelTable::new(["a", "b", "c"].map(String::from).to_vec());
        for i in 0..200u32 {
            let labels: &[u32] = match i {
                0..100 => &[0],
                100..140 => &[0, 1],
                140..160 => &[1],
                160..170 => &[0, 2],
                170..175 => &[2],
                _ => &[],
            };
            table.push(format!("{i:03}"), labels.iter().copied());
        }
        table
    }

    #[test]
    fn the_rarest_class_has_as_many_as_there_are() {
        let pool = pool();
        let images = draw(&pool, 45, 0);
        assert_eq!(images.len(), 45);
        let counts = pool.subset(&images).class_counts();
        // c has 15 images in all. All of them are among the 45, and a and b reach 15 with the
        // others.
        assert_eq!(counts[2], 15);
        assert!(counts.iter().all(|&n| n >= 15), "{counts:?}");
        assert!(counts.iter().max().unwrap() - 15 <= 5, "{counts:?}");
        // Pictures of b without a are available, and are taken before those with a.
        let alone = images.iter().filter(|&&i| (140..160).contains(&i)).count();
        assert!(alone >= 15, "{alone}");
        assert!(images.iter().all(|&i| i < 175), "labels come first");
    }

    #[test]
    fn the_seed_decides_and_all_of_a_pool_is_all_of_it() {
        let pool = pool();
        assert_eq!(draw(&pool, 30, 1), draw(&pool, 30, 1));
        assert_ne!(draw(&pool, 30, 1), draw(&pool, 30, 2));
        assert_eq!(draw(&pool, 999, 0), (0..200).collect::<Vec<_>>());
        // Unlabelled images fill the rest.
        let many = draw(&pool, 180, 0);
        assert!((0..175).all(|i| many.contains(&i)));
        assert!(draw(&pool, 0, 0).is_empty());
    }
}
