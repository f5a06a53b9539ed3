//! Tests the loader: the same batches for any number of workers, resumed or not, cached or not.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbloss::data::augment::InputConfig;
use dbloss::data::image::{ImageRoot, OnBadImage};
use dbloss::data::labels::LabelTable;
use dbloss::data::loader::{Batch, Loader, LoaderOptions};
use dbloss::data::shapes;

const ROOT: ImageRoot = ImageRoot::Shapes { seed: 0, size: 40 };

fn config() -> InputConfig {
    InputConfig {
        size: 32,
        ..InputConfig::default()
    }
}

fn loader(options: LoaderOptions) -> Loader {
    let (table, _) = shapes::label_tables(0, 50, 0);
    Loader::new(Arc::new(table), ROOT, config(), options).unwrap()
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size: 8,
        workers,
        ..LoaderOptions::default()
    }
}

fn all(loader: &Loader, train: Option<(u64, u64)>, start: usize) -> Vec<Batch> {
    let order: Vec<u32> = (0..50).map(|i| (i * 7 + 3) % 50).collect();
    loader
        .epoch(&order, train, start)
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn batches_are_the_same_for_any_number_of_workers() {
    for train in [Some((5, 2)), None] {
        let inline = all(&loader(options(0)), train, 0);
        // 50 = 6 x 8 + 2: the last two are dropped only in training.
        assert_eq!(inline.len(), if train.is_some() { 6 } else { 7 });
        for workers in [1, 2, 8] {
            let loader = loader(options(workers));
            assert_eq!(inline, all(&loader, train, 0), "{workers} workers");
            // Again, from the cache and with reused buffers.
            assert_eq!(inline, all(&loader, train, 0), "{workers} workers, cached");
        }
        let uncached = LoaderOptions {
            cache_bytes: 0,
            ..options(2)
        };
        assert_eq!(inline, all(&loader(uncached), train, 0), "without a cache");
    }
}

#[test]
fn an_epoch_resumed_in_its_middle_goes_on_as_it_would_have() {
    let whole = all(&loader(options(2)), Some((5, 2)), 0);
    let resumed = all(&loader(options(2)), Some((5, 2)), 4);
    assert_eq!(whole[4..], resumed);
    assert!(all(&loader(options(2)), Some((5, 2)), 99).is_empty());
}

#[test]
fn seeds_and_epochs_augment_differently_and_targets_follow_the_order() {
    let loader = loader(options(1));
    let first = all(&loader, Some((5, 2)), 0);
    for other in [(5, 3), (6, 2)] {
        let other = all(&loader, Some(other), 0);
        assert_eq!(first[0].indices, other[0].indices);
        assert_ne!(first[0].inputs, other[0].inputs);
    }
    let table = loader.table();
    for batch in &first {
        assert_eq!(batch.inputs.len(), batch.num_images * 32 * 32 * 3);
        let rows = batch.targets.chunks_exact(table.num_classes());
        for (row, &index) in rows.zip(&batch.indices) {
            let labels: Vec<u32> = (0..)
                .zip(row)
                .filter(|(_, y)| **y == 1.0)
                .map(|(c, _)| c)
                .collect();
            assert_eq!(labels, table.labels(index as usize));
        }
    }
}

#[test]
fn an_epoch_dropped_early_does_not_hang() {
    let loader = loader(options(4));
    for taken in 0..3 {
        let order: Vec<u32> = (0..50).collect();
        let batches: Vec<_> = loader.epoch(&order, Some((0, 0)), 0).take(taken).collect();
        assert_eq!(batches.len(), taken);
    }
}

/// Creates a folder of ten single-coloured pictures, and a loader for it.
fn folder_with(
    bad: &[usize],
    on_bad_image: OnBadImage,
    workers: usize,
) -> (tempfile::TempDir, Loader) {
    let folder = tempfile::tempdir().unwrap();
    let mut table = LabelTable::new(vec!["even".into(), "odd".into()]);
    for i in 0..10 {
        let name = format!("{i}.png");
        let path: PathBuf = folder.path().join(&name);
        if bad.contains(&i) {
            fs_err::write(&path, b"\x89PNG\r\n\x1a\n cut off").unwrap();
        } else {
            let picture = dbloss::data::picture::Rgb8::filled(12, 9, [i as u8 * 20; 3]);
            fs_err::write(&path, picture.to_png().unwrap()).unwrap();
        }
        table.push(name, [(i % 2) as u32]);
    }
    let root = ImageRoot::Folder {
        path: folder.path().to_path_buf(),
    };
    let options = LoaderOptions {
        batch_size: 4,
        workers,
        on_bad_image,
        ..LoaderOptions::default()
    };
    let loader = Loader::new(Arc::new(table), root, config(), options).unwrap();
    (folder, loader)
}

fn indices(loader: &Loader, order: &[u32], train: bool) -> Vec<Vec<u32>> {
    let train = train.then_some((0, 0));
    loader
        .epoch(order, train, 0)
        .map(|b| b.unwrap().indices.clone())
        .collect()
}

#[test]
fn a_bad_picture_is_an_error_that_names_it() {
    for workers in [0, 3] {
        let (_folder, loader) = folder_with(&[5], OnBadImage::Error, workers);
        let order: Vec<u32> = (0..10).collect();
        for train in [Some((0, 0)), None] {
            let mut epoch = loader.epoch(&order, train, 0);
            assert!(epoch.next().unwrap().is_ok());
            let error = epoch.next().unwrap().unwrap_err();
            assert!(error.to_string().contains("5.png"), "{error}");
            assert!(epoch.next().is_none());
        }
    }
}

#[test]
fn skipping_replaces_in_training_and_drops_in_testing() {
    let order = [0, 5, 6, 1, 2, 3, 4, 9];
    for workers in [0, 1, 3] {
        let (_folder, loader) = folder_with(&[5, 6, 9], OnBadImage::Skip, workers);
        // 5 and 6 are replaced by 1; 9 is last and is replaced by the first of the order.
        let expected = [vec![0, 1, 1, 1], vec![2, 3, 4, 0]];
        assert_eq!(indices(&loader, &order, true), expected);
        assert_eq!(indices(&loader, &order, false), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(loader.bad_images(), [5, 6, 9]);
        let batch = loader.epoch(&order, None, 0).next().unwrap().unwrap();
        assert_eq!(batch.num_images, 2);
        assert_eq!(batch.inputs.len(), 2 * 32 * 32 * 3);
        assert_eq!(batch.targets, [1.0, 0.0, 0.0, 1.0]);
    }
}

#[test]
fn without_any_good_picture_training_is_an_error_and_testing_is_empty() {
    let everything: Vec<usize> = (0..10).collect();
    let (_folder, loader) = folder_with(&everything, OnBadImage::Skip, 2);
    let order: Vec<u32> = (0..10).collect();
    assert!(
        loader
            .epoch(&order, Some((0, 0)), 0)
            .next()
            .unwrap()
            .is_err()
    );
    assert!(loader.epoch(&order, None, 0).next().is_none());
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let table = Arc::new(shapes::label_tables(0, 3, 0).0);
    let missing = ImageRoot::Folder {
        path: Path::new("no/such/folder").to_path_buf(),
    };
    let error = Loader::new(table.clone(), missing, config(), options(0)).unwrap_err();
    assert!(error.to_string().contains("no/such/folder"));
    let zero = InputConfig {
        std: [0.0; 3],
        ..config()
    };
    let error = Loader::new(table.clone(), ROOT, zero, options(0)).unwrap_err();
    assert!(error.to_string().contains("input.std"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let no_folder = LoaderOptions {
        cache_folder: Some(file.path().to_path_buf()),
        ..options(0)
    };
    let error = Loader::new(table.clone(), ROOT, config(), no_folder).unwrap_err();
    assert!(error.to_string().contains("cache folder"), "{error}");
    let loader = Loader::new(table, ROOT, config(), options(0)).unwrap();
    assert!(loader.epoch(&[99], None, 0).next().unwrap().is_err());
}

#[test]
fn views_give_the_same_rows_as_the_plain_test_transform() {
    let config: InputConfig = toml::from_str("size = 32\n[test_time]\nflip = true").unwrap();
    let table = Arc::new(shapes::label_tables(0, 20, 0).0);
    let loader = Loader::new(table, ROOT, config, options(2)).unwrap();
    let order: Vec<u32> = (0..20).rev().collect();
    let views = loader.views();
    assert_eq!(views.len(), 2);
    let plain: Vec<Batch> = loader.epoch(&order, None, 0).map(Result::unwrap).collect();
    let first: Vec<Batch> = loader.view(&order, views[0]).map(Result::unwrap).collect();
    let second: Vec<Batch> = loader.view(&order, views[1]).map(Result::unwrap).collect();
    assert_eq!(plain, first);
    for (plain, mirrored) in plain.iter().zip(&second) {
        assert_eq!(
            (&plain.indices, &plain.targets),
            (&mirrored.indices, &mirrored.targets)
        );
        for (row, mirrored) in
            (plain.inputs.chunks_exact(32 * 3)).zip(mirrored.inputs.chunks_exact(32 * 3))
        {
            assert!(row.chunks_exact(3).eq(mirrored.chunks_exact(3).rev()));
        }
    }
}

#[test]
fn mixup_gives_soft_targets_in_training_only_and_the_same_for_any_workers() {
    let config: InputConfig = toml::from_str("size = 32\n[augment.mixup]\nalpha = 1.0").unwrap();
    let table = Arc::new(shapes::label_tables(0, 40, 0).0);
    let order: Vec<u32> = (0..40).collect();
    let run = |workers: usize, train| -> Vec<Batch> {
        let loader = Loader::new(table.clone(), ROOT, config.clone(), options(workers)).unwrap();
        loader.epoch(&order, train, 0).map(Result::unwrap).collect()
    };
    let trained = run(0, Some((1, 0)));
    assert_eq!(trained, run(3, Some((1, 0))));
    let soft = |batches: &[Batch]| {
        batches
            .iter()
            .flat_map(|b| &b.targets)
            .filter(|y| **y > 0.0 && **y < 1.0)
            .count()
    };
    assert!(soft(&trained) > 50);
    assert_eq!(soft(&run(0, None)), 0);
}

#[test]
fn a_cache_folder_changes_no_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = LabelTable::new(vec!["any".into()]);
    for i in 0..6u8 {
        let mut picture = dbloss::data::picture::Rgb8::filled(20 + u32::from(i), 17, [i * 30; 3]);
        picture.pixels_mut()[40] = 255;
        let name = format!("{i}.png");
        fs_err::write(folder.path().join(&name), picture.to_png().unwrap()).unwrap();
        table.push(name, [0]);
    }
    let table = Arc::new(table);
    let root = ImageRoot::Folder {
        path: folder.path().to_path_buf(),
    };
    let order: Vec<u32> = (0..6).collect();
    let run = |cache_folder: Option<PathBuf>, train| -> Vec<Batch> {
        let options = LoaderOptions {
            batch_size: 2,
            cache_bytes: 0,
            cache_folder,
            ..options(2)
        };
        let loader = Loader::new(table.clone(), root.clone(), config(), options).unwrap();
        loader.epoch(&order, train, 0).map(Result::unwrap).collect()
    };
    let cache = folder.path().join("cache");
    for train in [Some((0, 0)), None] {
        let plain = run(None, train);
        assert_eq!(plain, run(Some(cache.clone()), train), "filling it");
        assert_eq!(plain, run(Some(cache.clone()), train), "from it");
    }
    // Six pictures in two versions.
    let files = std::fs::read_dir(&cache)
        .unwrap()
        .flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap());
    assert_eq!(files.count(), 12);
}

#[test]
#[ignore = "needs DBLOSS_DATA"]
fn batches_of_real_data_are_the_same_for_any_workers_and_after_any_resume() {
    for set in ["voc07", "coco18"] {
        let folder = common::real_data(set);
        let table = dbloss::data::formats::table::read(&folder.join("lt-train.csv"), None).unwrap();
        let table = Arc::new(table);
        let root = ImageRoot::Folder { path: folder };
        let order: Vec<u32> = (0..table.len() as u32).step_by(9).take(64).collect();
        let temporary = tempfile::tempdir().unwrap();
        let run = |workers: usize, cache_folder: Option<&Path>, start: usize| -> Vec<Batch> {
            let options = LoaderOptions {
                cache_bytes: 1 << 22,
                cache_folder: cache_folder.map(Path::to_path_buf),
                ..options(workers)
            };
            let loader = Loader::new(table.clone(), root.clone(), config(), options).unwrap();
            let batches = loader.epoch(&order, Some((3, 1)), start);
            batches.map(Result::unwrap).collect()
        };
        let whole = run(0, None, 0);
        assert_eq!(whole.len(), 8);
        for workers in [1, 2, 8] {
            assert_eq!(whole, run(workers, None, 0), "{set}, {workers} workers");
            for start in 1..8 {
                // The first run fills the folder partly; the others map what is there.
                let resumed = run(workers, Some(temporary.path()), 8 - start);
                assert_eq!(
                    whole[8 - start..],
                    resumed,
                    "{set}, {workers}, from {start}"
                );
            }
        }
    }
}

#[test]
fn views_are_those_of_all_seeds_and_can_be_shown_one_by_one() {
    let (table, _) = shapes::label_tables(0, 50, 0);
    let mut config = config();
    config.augment.views = 2;
    let loader = Loader::new(Arc::new(table), ROOT, config.clone(), options(2)).unwrap();
    let order: Vec<u32> = (0..48).rev().collect();
    let size = 32 * 32 * 3;
    // The two versions of each image, in the order of the images.
    let versions = [0, 1].map(|version| -> Vec<Vec<f32>> {
        let all: Vec<u32> = (0..48).collect();
        let batches = loader.version(&all, version).map(Result::unwrap);
        batches
            .flat_map(|batch| {
                batch
                    .inputs
                    .chunks(size)
                    .map(<[f32]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    });
    assert!(
        versions[0]
            .iter()
            .zip(&versions[1])
            .all(|(one, other)| one != other)
    );
    let mut shown = [0; 2];
    for at in [(0, 0), (0, 1), (1, 0), (9, 5)] {
        for (number, batch) in loader.epoch(&order, Some(at), 0).enumerate() {
            let batch = batch.unwrap();
            for (row, (&image, input)) in batch
                .indices
                .iter()
                .zip(batch.inputs.chunks(size))
                .enumerate()
            {
                let position = (number * 8 + row) as u64;
                let version = config.augment.version(at.0, at.1, position);
                assert_eq!(input, versions[version][image as usize]);
                shown[version] += 1;
            }
        }
    }
    assert!(shown.iter().all(|&times| times > 60), "{shown:?}");
}

#[test]
fn versions_are_counted_where_that_is_possible() {
    let mut augment = config().augment;
    assert_eq!(augment.versions(), None);
    augment.views = 5;
    assert_eq!(augment.versions(), Some(5));
    augment.mixup = Some(Default::default());
    assert_eq!(augment.versions(), None);
    let mut none = dbloss::data::augment::AugmentConfig::none();
    assert_eq!(none.versions(), Some(1));
    none.views = 5;
    assert_eq!((none.versions(), none.version(1, 2, 3)), (Some(1), 0));
}
