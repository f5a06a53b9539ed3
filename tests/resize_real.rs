//! Tests decoding and resizing of real pictures against OpenCV and Pillow, to one grey level.
//!
//! The pictures are not part of the project: `benches/peer/resize.py` prepares a folder of them,
//! which is given in the environment variable `DBLOSS_RESIZED`.

use std::path::PathBuf;

use dbloss::data::image;
use dbloss::data::picture::Rgb8;
use dbloss::data::resize::{ResizeMethod, resize};

/// Returns the largest and the mean difference in grey levels.
fn differences(a: &Rgb8, b: &Rgb8) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let pairs = || a.pixels().iter().zip(b.pixels());
    let largest = pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let sum: u64 = pairs().map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    (largest, sum as f64 / a.pixels().len() as f64)
}

#[test]
#[ignore = "needs DBLOSS_RESIZED"]
fn real_pictures_are_resized_to_one_grey_level() {
    let folder = std::env::var_os("DBLOSS_RESIZED").map(PathBuf::from);
    let folder = folder.expect("DBLOSS_RESIZED names a folder made by benches/peer/resize.py");
    let read = |i: usize, ending: &str| image::read(&folder.join(format!("{i:04}.{ending}")));
    let mut seen = 0;
    let (mut decode_largest, mut decode_mean) = (0, 0.0);
    while folder.join(format!("{seen:04}.jpg")).is_file() {
        let decoded = read(seen, "png").unwrap();
        for (method, ending) in [
            (ResizeMethod::Opencv, "opencv.png"),
            (ResizeMethod::Antialias, "pillow.png"),
        ] {
            let found = resize(&decoded, 224, 224, method);
            let (largest, _) = differences(&found, &read(seen, ending).unwrap());
            assert!(largest <= 1, "{seen:04}.{ending}: {largest} grey levels");
        }
        // JPEG leaves the rounding of the inverse transform and the upsampling of the chroma to the
        // decoder: results agree on average, not to one level.
        let (largest, mean) = differences(&read(seen, "jpg").unwrap(), &decoded);
        assert!(
            mean < 1.0,
            "{seen:04}.jpg: {mean:.2} grey levels on average"
        );
        decode_largest = decode_largest.max(largest);
        decode_mean += mean;
        seen += 1;
    }
    assert!(seen > 0, "{} holds no pictures", folder.display());
    println!(
        "{seen} pictures; decoding differs by {:.3} grey levels on average, {decode_largest} at most",
        decode_mean / seen as f64
    );
}
