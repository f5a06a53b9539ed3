use super::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

/// 60 images: class 0 in all but the last ten, 1 in a third, 2 in six, 3 in two.
fn table() -> LabelTable {
    let mut table = LabelTable::new(names(4));
    for i in 0..60u32 {
        let mut labels = Vec::new();
        labels.extend((i < 50).then_some(0));
        labels.extend((i % 3 == 0).then_some(1));
        labels.extend((i % 10 == 9).then_some(2));
        labels.extend((i % 30 == 11).then_some(3));
        table.push(format!("{i}.jpg"), labels);
    }
    table
}

fn all() -> [SamplerConfig; 4] {
    [
        SamplerConfig::default(),
        SamplerConfig::class_aware(),
        SamplerConfig::RepeatFactor {
            threshold: 0.3,
            epoch_length: None,
        },
        SamplerConfig::SquareRoot { epoch_length: None },
    ]
}

#[test]
fn an_epoch_depends_on_seed_and_epoch_and_nothing_else() {
    let table = table();
    for sampler in all() {
        let draw = |seed, epoch| sampler.epoch_indices(&table, seed, epoch).unwrap();
        assert_eq!(draw(1, 2), draw(1, 2), "{}", sampler.kind());
        assert_ne!(draw(1, 2), draw(1, 3), "{}", sampler.kind());
        assert_ne!(draw(1, 2), draw(2, 2), "{}", sampler.kind());
    }
}

#[test]
fn uniform_shows_every_image_once_and_longer_epochs_go_on() {
    let table = table();
    let mut once = (SamplerConfig::default().epoch_indices(&table, 0, 0)).unwrap();
    once.sort_unstable();
    assert_eq!(once, (0..60).collect::<Vec<_>>());
    let longer = SamplerConfig::Uniform {
        epoch_length: Some(EpochLength::Images(150)),
    };
    let mut seen = [0; 60];
    for image in longer.epoch_indices(&table, 0, 0).unwrap() {
        seen[image as usize] += 1;
    }
    assert!(seen.iter().all(|&n| n == 2 || n == 3), "{seen:?}");
}

#[test]
fn class_aware_draws_three_in_a_row_from_a_cycle_of_classes() {
    let table = table();
    let sampler = SamplerConfig::class_aware();
    // The largest class has 50 images, there are 4 classes, and the length is reduced to a quarter.
    assert_eq!(sampler.epoch_length(&table), 50);
    let indices = sampler.epoch_indices(&table, 5, 0).unwrap();
    assert_eq!(indices.len(), 50);
    // Four consecutive draws of three images show every class: the images of a draw share a class,
    // and within a cycle the draws can be assigned to all four classes.
    for cycle in indices[..48].chunks(12) {
        let commons: Vec<Vec<u32>> = (cycle.chunks(3))
            .map(|draw| {
                let has = |i: u32, c: u32| table.labels(i as usize).contains(&c);
                (0..4)
                    .filter(|&c| draw.iter().all(|&i| has(i, c)))
                    .collect()
            })
            .collect();
        assert!(assignable(&commons, &mut vec![]), "{cycle:?}: {commons:?}");
    }
}

fn assignable(commons: &[Vec<u32>], taken: &mut Vec<u32>) -> bool {
    let Some((first, rest)) = commons.split_first() else {
        return true;
    };
    first.iter().any(|&class| {
        if taken.contains(&class) {
            return false;
        }
        taken.push(class);
        let found = assignable(rest, taken);
        taken.pop();
        found
    })
}

#[test]
fn class_aware_has_the_published_lengths() {
    // A largest class of 775 among 20 gives 3,875 (VOC-MLT); 1,128 among 80 gives 22,560
    // (COCO-MLT).
    for (largest, classes, expected) in [(775u32, 20, 3_875), (1_128, 80, 22_560)] {
        let mut table = LabelTable::new(names(classes));
        for i in 0..largest {
            let rare = 1 + i % (classes as u32 - 1);
            table.push(format!("{i}"), [0, rare]);
        }
        assert_eq!(SamplerConfig::class_aware().epoch_length(&table), expected);
        let uniform = SamplerConfig::Uniform {
            epoch_length: Some(EpochLength::Like(SamplerName::ClassAware)),
        };
        assert_eq!(uniform.epoch_indices(&table, 0, 0).unwrap().len(), expected);
    }
}

#[test]
fn repeat_factors_follow_the_rarest_class_of_an_image() {
    let table = table();
    let factors = repeat_factors(&table, 0.3);
    // Class 3 has 2 of 60 images, class 2 has 6, class 1 has 20 of 60 and is above the threshold.
    assert!((factors[11] - (0.3f64 * 60.0 / 2.0).sqrt()).abs() < 1e-12);
    assert!((factors[9] - (0.3f64 * 60.0 / 6.0).sqrt()).abs() < 1e-12);
    assert_eq!(factors[0], 1.0);
    assert_eq!(factors[50], 1.0, "an image without a label is kept");
    let sampler = SamplerConfig::RepeatFactor {
        threshold: 0.3,
        epoch_length: None,
    };
    for epoch in 0..20 {
        let mut seen = [0.0; 60];
        for image in sampler.epoch_indices(&table, 0, epoch).unwrap() {
            seen[image as usize] += 1.0;
        }
        for (image, (seen, factor)) in seen.iter().zip(&factors).enumerate() {
            let near = *seen == factor.floor() || *seen == factor.ceil();
            assert!(near, "image {image}: {seen} times for {factor}");
        }
    }
}

#[test]
fn expected_frequencies_are_those_that_draws_show() {
    let table = table();
    for sampler in all() {
        let expected = expected_label_frequency(&sampler, &table).unwrap();
        let (mut seen, mut drawn) = (vec![0.0; 4], 0.0);
        for epoch in 0..3_000 {
            for image in sampler.epoch_indices(&table, 3, epoch).unwrap() {
                drawn += 1.0;
                for &class in table.labels(image as usize) {
                    seen[class as usize] += 1.0;
                }
            }
        }
        for (class, (seen, expected)) in seen.iter().zip(expected.frequency).enumerate() {
            let drawn = seen / drawn;
            assert!(
                (drawn - expected).abs() < 0.01,
                "{} class {class}: {drawn} for {expected}",
                sampler.kind()
            );
        }
    }
}

#[test]
fn class_aware_sampling_is_far_from_uniform_where_classes_co_occur() {
    let expected = expected_label_frequency(&SamplerConfig::class_aware(), &table()).unwrap();
    let frequency = &expected.frequency;
    assert!(frequency[0] > 2.0 * frequency[3], "{frequency:?}");
    assert!(expected.imbalance().unwrap() > 2.0);
}

#[test]
fn a_class_without_images_is_named() {
    let mut table = table();
    table = {
        let mut wider = LabelTable::new(names(5));
        for i in 0..table.len() {
            wider.push(table.image(i), table.labels(i).iter().copied());
        }
        wider
    };
    let error = (SamplerConfig::class_aware().epoch_indices(&table, 0, 0)).unwrap_err();
    assert!(error.to_string().contains("`class 4`"), "{error}");
    for sampler in all().iter().filter(|s| s.kind() != "class-aware") {
        assert!(sampler.epoch_indices(&table, 0, 0).is_ok());
    }
    let empty = LabelTable::new(names(2));
    for sampler in all() {
        assert!(sampler.epoch_indices(&empty, 0, 0).is_err());
    }
}

#[test]
fn every_kind_is_accepted_with_its_defaults() {
    for (sampler, kind) in all().iter().zip(SamplerConfig::KINDS) {
        let read: SamplerConfig = toml::from_str(&format!("kind = \"{kind}\"")).unwrap();
        assert_eq!(read.kind(), kind);
        assert_eq!(sampler.kind(), kind);
    }
}

#[test]
fn settings_are_read_from_toml_and_checked() {
    let read = |text: &str| toml::from_str::<SamplerConfig>(text);
    assert_eq!(
        read("kind = \"class-aware\"").unwrap(),
        SamplerConfig::class_aware()
    );
    let like = read("kind = \"uniform\"\nepoch_length = \"class-aware\"").unwrap();
    assert_eq!(
        like,
        SamplerConfig::Uniform {
            epoch_length: Some(EpochLength::Like(SamplerName::ClassAware))
        }
    );
    assert!(read("kind = \"class-aware\"\nreduse = 2").is_err());
    let zero = read("kind = \"class-aware\"\nreduce = 0").unwrap();
    let error = zero
        .check(&KeyPath::from("sampler"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("sampler.reduce"), "{error}");
    let wrong = read("kind = \"repeat-factor\"\nthreshold = 0.0").unwrap();
    assert!(wrong.check(&KeyPath::from("sampler")).is_err());
}
