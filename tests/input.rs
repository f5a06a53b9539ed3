//! Tests the input pipeline against OpenCV, Pillow and numpy, step by step.
//!
//! `input/golden.json` was made by `input/make_golden.py`; it contains results, while the picture
//! is computed from a formula.

use dbloss::data::augment::{Crop, Distortion, InputConfig, Operation, Plan, Transformer};
use dbloss::data::picture::Rgb8;
use dbloss::data::resize::{ResizeMethod, resize};
use dbloss::rng::Stream;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    width: u32,
    height: u32,
    distort: Vec<DistortCase>,
    resize: Vec<ResizeCase>,
    pipeline: Vec<PipelineCase>,
    test: TestCase,
}

#[derive(Deserialize)]
struct DistortCase {
    brightness: f32,
    contrast: f32,
    contrast_last: bool,
    saturation: f32,
    hue: f32,
    permutation: [usize; 3],
    values: Vec<f32>,
}

impl DistortCase {
    fn distortion(&self) -> Distortion {
        Distortion {
            brightness: self.brightness,
            contrast: self.contrast,
            contrast_last: self.contrast_last,
            saturation: self.saturation,
            hue: self.hue,
            permutation: self.permutation,
        }
    }
}

#[derive(Deserialize)]
struct ResizeCase {
    width: u32,
    height: u32,
    opencv: Vec<u8>,
    antialias: Vec<u8>,
}

#[derive(Deserialize)]
struct PipelineCase {
    distortion: usize,
    crop: [u32; 4],
    flip: bool,
    size: u32,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct TestCase {
    size: u32,
    values: Vec<f32>,
}

fn golden() -> (Golden, Rgb8) {
    let golden: Golden = serde_json::from_str(include_str!("input/golden.json")).unwrap();
    let count = u64::from(golden.width * golden.height * 3);
    let pixels = (0..count)
        .map(|i| {
            let value = (((i + 1) * 2_654_435_761 * (i / 7 + 3)) % (1 << 32)) >> 24;
            (if i < count / 2 { value / 6 } else { value }) as u8
        })
        .collect();
    let picture = Rgb8::new(golden.width, golden.height, pixels).unwrap();
    (golden, picture)
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance,
            "{what}, value {i}: {f}, expected {e}"
        );
    }
}

#[test]
fn distortion_is_that_of_opencv_also_for_values_below_zero() {
    let (golden, picture) = golden();
    let mut negative = 0;
    for (i, case) in golden.distort.iter().enumerate() {
        let mut planes = [0, 1, 2].map(|channel| -> Vec<f32> {
            (picture.pixels().chunks_exact(3))
                .map(|p| f32::from(p[channel]))
                .collect()
        });
        let [red, green, blue] = &mut planes;
        case.distortion().apply(red, green, blue);
        let found: Vec<f32> = (0..planes[0].len())
            .flat_map(|p| case.permutation.map(|channel| planes[channel][p]))
            .collect();
        // A hundredth of a grey level: the hue is rounded differently.
        assert_close(&found, &case.values, 0.01, &format!("distortion {i}"));
        negative += case.values.iter().filter(|v| **v < 0.0).count();
    }
    assert!(negative > 100, "the cases do not reach below zero");
}

#[test]
fn resizing_is_that_of_opencv_and_of_pillow() {
    let (golden, picture) = golden();
    for case in &golden.resize {
        for (method, expected) in [
            (ResizeMethod::Opencv, &case.opencv),
            (ResizeMethod::Antialias, &case.antialias),
        ] {
            let found = resize(&picture, case.width, case.height, method);
            let worst = (found.pixels().iter().zip(expected))
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            let what = format!("{method:?} {} x {}", case.width, case.height);
            assert_eq!(found.pixels().len(), expected.len(), "{what}");
            assert!(worst <= Some(1), "{what}: {worst:?} grey levels off");
        }
    }
}

/// Tests `cv2.resize` of a picture of 2 x 2 pixels, to the last bit: rows beyond the edge are
/// handled as in OpenCV.
#[test]
fn enlarging_is_opencvs_to_the_last_bit() {
    let values = [5, 157, 159, 60, 54, 236, 109, 46, 199, 82, 32, 205];
    let picture = Rgb8::new(2, 2, values.to_vec()).unwrap();
    #[rustfmt::skip]
    let expected: [u8; 75] = [
        5, 157, 159, 10, 146, 166, 32, 105, 197, 54, 64, 228, 60, 54, 236,
        15, 146, 163, 20, 136, 170, 39, 99, 198, 57, 61, 226, 62, 52, 233,
        57, 102, 179, 58, 96, 183, 64, 72, 200, 69, 49, 216, 71, 43, 221,
        99, 57, 195, 97, 55, 196, 89, 46, 202, 81, 36, 207, 80, 34, 208,
        109, 46, 199, 106, 44, 200, 95, 39, 202, 85, 33, 204, 82, 32, 205,
    ];
    let found = resize(&picture, 5, 5, ResizeMethod::Opencv);
    assert_eq!(found.pixels(), expected);
}

#[test]
fn the_training_transform_is_the_published_one() {
    let (golden, picture) = golden();
    for (i, case) in golden.pipeline.iter().enumerate() {
        let config = InputConfig {
            size: case.size,
            ..InputConfig::default()
        };
        let [left, top, width, height] = case.crop;
        let plan = Plan {
            distortion: golden.distort[case.distortion].distortion(),
            crop: Crop {
                left,
                top,
                width,
                height,
            },
            flip: case.flip,
            ..Plan::test(golden.width, golden.height)
        };
        let mut transformer = Transformer::new(&config);
        let mut found = vec![f32::NAN; transformer.input_len()];
        transformer.apply(&picture, &plan, &mut found);
        assert_close(&found, &case.values, 1e-3, &format!("pipeline {i}"));
    }
}

#[test]
fn the_test_transform_is_the_published_one() {
    let (golden, picture) = golden();
    let config = InputConfig {
        size: golden.test.size,
        ..InputConfig::default()
    };
    let mut transformer = Transformer::new(&config);
    let mut found = vec![f32::NAN; transformer.input_len()];
    transformer.test(&picture, &mut found);
    // One grey level.
    assert_close(&found, &golden.test.values, 1.01 / 57.0, "test transform");
}

#[derive(Deserialize)]
struct OperationCase {
    name: String,
    strength: f32,
    values: Vec<u8>,
}

#[test]
fn rand_augment_is_that_of_torchvision() {
    let (_, picture) = golden();
    let cases: Vec<OperationCase> =
        serde_json::from_str(include_str!("input/rand_augment.json")).unwrap();
    assert_eq!(cases.len(), 13);
    for case in cases {
        let s = case.strength;
        let mut found = picture.clone();
        let operation = match case.name.as_str() {
            "ShearX" => Operation::ShearX(s),
            "ShearY" => Operation::ShearY(s),
            "TranslateX" => Operation::TranslateX(s),
            "TranslateY" => Operation::TranslateY(s),
            "Rotate" => Operation::Rotate(s),
            "Brightness" => Operation::Brightness(s),
            "Color" => Operation::Color(s),
            "Contrast" => Operation::Contrast(s),
            "Sharpness" => Operation::Sharpness(s),
            "Posterize" => Operation::Posterize(s as u32),
            "Solarize" => Operation::Solarize(s),
            "AutoContrast" => {
                found.pixels_mut().iter_mut().for_each(|v| *v = *v / 3 + 40);
                Operation::AutoContrast
            }
            "Equalize" => Operation::Equalize,
            other => panic!("no operation {other}"),
        };
        operation.apply(&mut found);
        let off = (found.pixels().iter().zip(&case.values))
            .filter(|(a, b)| a.abs_diff(**b) > 1)
            .count();
        // If a pixel's source lies halfway between two pixels, rounding may select the other one.
        let allowed = match operation {
            Operation::ShearX(_) | Operation::ShearY(_) | Operation::Rotate(_) => 0.06,
            _ => 0.0,
        };
        let part = off as f64 / case.values.len() as f64;
        assert!(
            part <= allowed,
            "{}: {part:.3} of the values differ",
            case.name
        );
    }
}

#[test]
fn cutout_sets_squares_to_the_mean_and_nothing_else() {
    let picture = Rgb8::filled(40, 40, [255; 3]);
    let config: InputConfig = toml::from_str(
        "size = 40\n[augment.cutout]\nholes = 2\nlength = 0.25\n[augment.crop]\nkind = 'none'",
    )
    .unwrap();
    let mut transformer = Transformer::new(&config);
    let (mut with, mut without) = (vec![0.0; 4800], vec![0.0; 4800]);
    let mut total = 0;
    for i in 0..50 {
        let plan = Plan::draw(&config, 40, 40, &mut Stream::new(0, "cutout", 0, i));
        transformer.apply(&picture, &plan, &mut with);
        let whole = Plan {
            holes: Vec::new(),
            ..plan
        };
        transformer.apply(&picture, &whole, &mut without);
        let changed: Vec<usize> = (0..4800).filter(|&i| with[i] != without[i]).collect();
        assert!(changed.iter().all(|&i| with[i] == 0.0));
        // Two squares of at most 10 x 10 pixels.
        assert!(changed.len() <= 2 * 10 * 10 * 3, "{}", changed.len());
        total += changed.len();
    }
    assert!(total > 50 * 100 * 3, "{total}");
}

#[test]
fn crops_keep_to_their_bounds() {
    let published = InputConfig::default();
    let resized: InputConfig = toml::from_str("[augment.crop]\nkind = 'random-resized'").unwrap();
    let (mut flips, mut areas) = (0, Vec::new());
    for i in 0..2000 {
        let plan = Plan::draw(&published, 320, 240, &mut Stream::new(0, "crop", 0, i));
        let Crop {
            left,
            top,
            width,
            height,
        } = plan.crop;
        // Corners are truncated, which can cost up to a pixel.
        assert!((255..=320).contains(&width) && (191..=240).contains(&height));
        assert!(left + width <= 320 && top + height <= 240);
        flips += usize::from(plan.flip);
        let plan = Plan::draw(&resized, 320, 240, &mut Stream::new(0, "crop", 0, i));
        let Crop {
            left,
            top,
            width,
            height,
        } = plan.crop;
        assert!(left + width <= 320 && top + height <= 240);
        let ratio = f64::from(width) / f64::from(height);
        assert!((0.73..1.37).contains(&ratio), "{ratio}");
        areas.push(f64::from(width * height) / (320.0 * 240.0));
    }
    assert!((900..1100).contains(&flips), "{flips}");
    let smallest = areas.iter().copied().fold(1.0, f64::min);
    assert!((0.078..0.1).contains(&smallest), "{smallest}");
    // No aspect ratio within the bounds fits in such a flat picture: the whole picture is used.
    let plan = Plan::draw(&published, 900, 100, &mut Stream::new(0, "crop", 0, 0));
    assert_eq!(plan.crop, Crop::whole(900, 100));
}

#[test]
fn views_are_five_crops_and_their_mirror_images() {
    let config: InputConfig =
        toml::from_str("size = 8\n[test_time]\nflip = true\ncrops = 5\npart = 0.5").unwrap();
    let views = config.test_time.views();
    assert_eq!(views.len(), 10);
    // Red encodes the column, green the row.
    let pixels = (0..16 * 16)
        .flat_map(|i| [(i % 16 * 16) as u8, (i / 16 * 16) as u8, 0])
        .collect();
    let picture = Rgb8::new(16, 16, pixels).unwrap();
    let mut transformer = Transformer::new(&config);
    let mut corners = Vec::new();
    for view in &views {
        let mut input = vec![0.0; 8 * 8 * 3];
        transformer.view(&picture, *view, &mut input);
        let value = |channel: usize| {
            (input[channel] * config.std[channel] + config.mean[channel]).round() as i32 / 16
        };
        corners.push((value(0), value(1)));
    }
    // The centre first, then the corners from the last one; mirrored, the right edge comes first.
    assert_eq!(corners[..5], [(4, 4), (8, 8), (0, 8), (8, 0), (0, 0)]);
    assert_eq!(corners[5..], [(11, 4), (15, 8), (7, 8), (15, 0), (7, 0)]);
}

#[test]
fn unknown_keys_and_values_out_of_range_are_refused_by_name() {
    assert!(toml::from_str::<InputConfig>("[augment]\nflipp = 0.5").is_err());
    for (text, key) in [
        ("size = 4", "input.size"),
        ("[augment]\nflip = 1.5", "input.augment.flip"),
        ("[augment.photometric]\ncontrast = [1.5, 0.5]", "contrast"),
        ("[augment.photometric]\nhue = nan", "hue"),
        ("[augment.crop]\nkind = 'sides'\nmin_side = 0.0", "min_side"),
        ("[augment.mixup]\nalpha = 0.0", "mixup.alpha"),
        ("[augment.rand_augment]\nmagnitude = 31", "magnitude"),
        ("[test_time]\ncrops = 3", "input.test_time.crops"),
    ] {
        let config: InputConfig = toml::from_str(text).unwrap();
        let message = config.check(&"input".into()).unwrap_err().to_string();
        assert!(message.contains(key), "{text}: {message}");
    }
    // The defaults, and how they are written.
    let config = InputConfig::default();
    config.check(&"input".into()).unwrap();
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<InputConfig>(&text).unwrap(), config);
}
