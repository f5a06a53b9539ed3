//! The embedded data set `shapes`: scenes of 20 object classes, drawn by the program.
//!
//! It stands in for real pictures where none are available: in the first command of the README, in
//! tests, and in quick comparisons of losses. It reproduces on a small scale what makes real
//! multi-label sets long-tailed and hard: classes co-occur (a table brings chairs, a bicycle a
//! person), one class is in most pictures, objects overlap and extend beyond the frame, some
//! classes differ only in texture or in the arrangement of parts (a car and a taxi, a mushroom and
//! an umbrella), and the background is littered with parts that belong to no object.
//!
//! Every scene is a pure function of (seed, set, index): first a [`Scene`] is laid out in
//! coordinates of 0 to 1, which determines the labels; then it is drawn at any size.

use crate::data::labels::LabelTable;
use crate::data::picture::Rgb8;
use crate::error::{Error, Result};
use crate::rng::Stream;

mod backdrop;
mod canvas;
mod objects;
mod scene;

pub use scene::{Class, Object, Scene, Theme};

/// Smallest side of a picture, in pixels.
pub const MIN_SIZE: u32 = 16;
/// Largest side of a picture, in pixels.
pub const MAX_SIZE: u32 = 1024;

/// Names of the sets: scenes from which training subsets are drawn, and scenes for testing.
const SETS: [&str; 2] = ["pool", "test"];

/// Returns the label tables of the `pool` and `test` scenes, with images named from `pool/000000`
/// and `test/000000`. Classes are in alphabetical order. Both sets have the same natural class
/// frequencies; the long tail comes from drawing a subset of the pool.
pub fn label_tables(seed: u64, pool: usize, test: usize) -> (LabelTable, LabelTable) {
    let table = |set: &str, count: usize| {
        let mut table = LabelTable::new(Class::ALL.map(|c| c.name().to_string()).to_vec());
        for index in 0..count {
            let scene = Scene::new(seed, set, index as u64);
            table.push(
                format!("{set}/{index:06}"),
                scene.objects.iter().map(|object| object.class as u32),
            );
        }
        table
    };
    (table(SETS[0], pool), table(SETS[1], test))
}

/// Draws the scene `name` (`pool/000123`, `test/000042`) as a square picture with a side of `size`
/// pixels, [`MIN_SIZE`] to [`MAX_SIZE`].
///
/// # Errors
/// Returns an error if the name does not belong to a set or the size is out of range.
pub fn draw(seed: u64, name: &str, size: u32) -> Result<Rgb8> {
    let (set, index) = parse(name)?;
    if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(Error::key(
            "split.source.side",
            format_args!("is {size}, expected {MIN_SIZE} to {MAX_SIZE} pixels"),
        ));
    }
    let scene = Scene::new(seed, set, index);
    let mut stream = Stream::new(seed, &format!("shapes/{set}/ink"), 0, index);
    let mut canvas = canvas::Canvas::new(size);
    backdrop::draw(&mut canvas, scene.theme, &mut stream);
    for object in &scene.objects {
        objects::draw(&mut canvas, object, &mut stream);
    }
    backdrop::litter_in_front(&mut canvas, &mut stream);
    Ok(canvas.develop(&mut stream))
}

fn parse(name: &str) -> Result<(&str, u64)> {
    (name.split_once('/'))
        .filter(|(set, digits)| {
            SETS.contains(set)
                && (6..=12).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
        .and_then(|(set, digits)| Some((set, digits.parse().ok()?)))
        .ok_or_else(|| {
            Error::input(
                format_args!("image `{name}`"),
                "is not a name of the embedded set, expected `pool/` or `test/` and six digits",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::{Group, GroupThresholds};
    use crate::data::longtail::Pareto;

    #[test]
    fn scenes_depend_on_seed_set_and_index_alone() {
        let first = draw(0, "pool/000007", 64).unwrap();
        assert_eq!(first, draw(0, "pool/000007", 64).unwrap());
        for (seed, name) in [(1, "pool/000007"), (0, "test/000007"), (0, "pool/000008")] {
            assert_ne!(first, draw(seed, name, 64).unwrap());
        }
        // A larger pool begins with the same scenes.
        let (small, _) = label_tables(0, 10, 0);
        let (large, _) = label_tables(0, 20, 5);
        assert_eq!(large.subset(&(0..10).collect::<Vec<_>>()), small);
    }

    #[test]
    fn every_label_is_seen_in_the_picture() {
        // Without the object, the picture differs by more than a few pixels.
        let mut smallest = usize::MAX;
        for index in 0..60 {
            let scene = Scene::new(0, "pool", index);
            for skipped in 0..scene.objects.len() {
                let render = |skip: Option<usize>| {
                    let mut canvas = canvas::Canvas::new(64);
                    canvas.fill(|_| [0.0, 1.0, 0.0]);
                    for (i, object) in scene.objects.iter().enumerate() {
                        // Each object has its own stream here, so that removing one does not change
                        // the others.
                        let mut stream = Stream::new(0, "ink", index, i as u64);
                        if skip != Some(i) {
                            objects::draw(&mut canvas, object, &mut stream);
                        }
                    }
                    canvas.develop(&mut Stream::new(0, "film", 0, 0))
                };
                let (with, without) = (render(None), render(Some(skipped)));
                let changed = (with.pixels().chunks_exact(3))
                    .zip(without.pixels().chunks_exact(3))
                    .filter(|(a, b)| a != b)
                    .count();
                smallest = smallest.min(changed);
            }
        }
        assert!(smallest >= 40, "an object of {smallest} pixels");
    }

    #[test]
    fn the_published_construction_finds_head_medium_and_tail() {
        let (pool, test) = label_tables(0, 4000, 1500);
        let wanted = Pareto::default().counts(20).unwrap();
        // Even the rarest class has enough images for the end of the published curve.
        let mut counts = pool.class_counts();
        counts.sort_unstable();
        assert!(counts[0] >= 4 * wanted[19], "{counts:?}");
        assert!(counts[19] >= wanted[0], "{counts:?}");
        let groups: Vec<Group> = (wanted.iter())
            .map(|&n| GroupThresholds::default().group(n))
            .collect();
        assert!(Group::ALL.iter().all(|g| groups.contains(g)));
        // Average precision on a handful of test images would be noise.
        assert!(test.class_counts().iter().all(|&n| n >= 50));
    }

    #[test]
    fn classes_come_together_as_in_real_scenes() {
        let (pool, _) = label_tables(3, 3000, 0);
        let counts = pool.class_counts();
        let both = |a: Class, b: Class| {
            (0..pool.len())
                .filter(|&i| {
                    let labels = pool.labels(i);
                    labels.contains(&(a as u32)) && labels.contains(&(b as u32))
                })
                .count() as f64
        };
        let given = |a: Class, b: Class| both(a, b) / counts[a as usize] as f64;
        let share = |a: Class| counts[a as usize] as f64 / pool.len() as f64;
        assert!(share(Class::Person) > 0.5);
        assert!(given(Class::Table, Class::Chair) > 4.0 * share(Class::Chair));
        assert!(given(Class::Bicycle, Class::Person) > 1.2 * share(Class::Person));
        assert_eq!(both(Class::Boat, Class::Table), 0.0);
    }

    #[test]
    fn names_and_sizes_that_do_not_exist_are_refused() {
        for name in [
            "",
            "pool",
            "pool/1",
            "train/000001",
            "pool/00000x",
            "pool/-00001",
            "../pool/000001",
        ] {
            let message = draw(0, name, 64).unwrap_err().to_string();
            assert!(message.contains("embedded set"), "{name}: {message}");
        }
        for size in [0, 15, 1025, u32::MAX] {
            assert!(draw(0, "pool/000000", size).is_err());
        }
    }
}
