//! Measures every loss, value and gradient, at 256 x 80 (COCO) and 1,024 x 1,203 (LVIS).
//!
//! `cargo bench --bench loss -- [LOSS ...]`

use std::time::Instant;

use dbloss::data::labels::ClassFrequency;
use dbloss::loss::{self, Batch};
use dbloss::rng::Stream;

fn main() -> dbloss::Result<()> {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    println!(
        "value and gradient, milliseconds: best (median) of 7; {} threads",
        rayon::current_num_threads()
    );
    println!("{:16} {:>20} {:>20}", "loss", "256 x 80", "1024 x 1203");
    let shapes = [(256, 80), (1024, 1203)];
    let batches: Vec<_> = shapes.iter().map(|&(n, c)| random(n, c)).collect();
    for name in loss::names() {
        if !chosen.is_empty() && !chosen.iter().any(|c| c == name) {
            continue;
        }
        let mut line = format!("{name:16}");
        for ((_, classes), (logits, targets)) in shapes.iter().zip(&batches) {
            let frequency = ClassFrequency {
                counts: (0..*classes).map(|c| 1 + 1_000 / (1 + c)).collect(),
                num_images: 2_000,
            };
            let loss = loss::build(name, &frequency)?;
            let batch = Batch::new(logits, targets, *classes, 1)?;
            let mut gradient = vec![0.0; logits.len()];
            let mut times = Vec::new();
            for _ in 0..7 {
                let start = Instant::now();
                std::hint::black_box(loss.evaluate(&batch, &mut gradient)?);
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            line += &format!(" {:>20}", format!("{:.3} ({:.3})", times[0], times[3]));
        }
        println!("{line}");
    }
    Ok(())
}

fn random(images: usize, classes: usize) -> (Vec<f64>, Vec<f32>) {
    let mut stream = Stream::new(0, "bench", 0, 0);
    let logits = (0..images * classes)
        .map(|_| 3.0 * stream.normal())
        .collect();
    let targets = (0..images * classes)
        .map(|_| f32::from(u8::from(stream.chance(0.04))))
        .collect();
    (logits, targets)
}
