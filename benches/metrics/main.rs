//! Measures AP at 100,000 x 80 and confidence intervals at 5,000 x 80, alternating between the
//! jackknife and a percentile bootstrap with 1,000 resamples.
//!
//! `cargo bench --bench metrics` prints the times; `-- intervals` leaves out AP. With `-- --serve`
//! it reads commands from standard input and answers each with one line:
//! `load SCORES TARGETS CLASSES` (files of little-endian f32 and of bytes) with the number of
//! images, `ap` with the seconds taken and the mean AP. `benches/peer/metrics.py` uses this to
//! alternate with it.

mod bootstrap;

use std::io::BufRead;
use std::time::Instant;

use dbloss::data::labels::Group;
use dbloss::metrics::{
    ApMethod, Jackknife, Ranked, ScoreTable, average_precision_per_class, class_intervals,
};
use dbloss::rng::Stream;

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "--serve") {
        return serve();
    }
    println!(
        "best (median) of {ROUNDS}, {} threads",
        rayon::current_num_threads()
    );
    if !std::env::args().any(|argument| argument == "intervals") {
        precision()?;
    }
    intervals()
}

const ROUNDS: usize = 9;

fn precision() -> anyhow::Result<()> {
    let (scores, targets) = random(100_000);
    let table = ScoreTable::new(&scores, &targets, 80)?;
    let wide: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
    let wide = ScoreTable::new(&wide, &targets, 80)?;
    report(&[
        ("AP, 100,000 x 80, f32", &|| {
            std::hint::black_box(average_precision_per_class(&table, ApMethod::Area));
        }),
        ("AP, 100,000 x 80, f64", &|| {
            std::hint::black_box(average_precision_per_class(&wide, ApMethod::Area));
        }),
    ]);
    Ok(())
}

/// Measures everything that follows the scores, sorting included.
fn intervals() -> anyhow::Result<()> {
    let (scores, targets) = random(5_000);
    let table = ScoreTable::new(&scores, &targets, 80)?;
    let medians = report(&[
        ("intervals of mAP, 5,000 x 80", &|| {
            let ranked = Ranked::new(&table).expect("few images");
            let jackknife = Jackknife::new(&ranked, &[Group::Head; 80]);
            std::hint::black_box(jackknife.intervals(0.95));
        }),
        ("percentile bootstrap of it", &|| {
            std::hint::black_box(bootstrap::percentile(&scores, &targets, 80, 1_000));
        }),
        ("intervals of AP, 5,000 x 80", &|| {
            let ranked = Ranked::new(&table).expect("few images");
            std::hint::black_box(class_intervals(&ranked, 0.95));
        }),
    ]);
    let ratio = medians[1] / medians[0];
    println!("the bootstrap takes {ratio:.1} times as long as the jackknife of mAP");
    Ok(())
}

/// Runs `works` alternately, prints best and median seconds, and returns the medians.
fn report(works: &[(&str, &dyn Fn())]) -> Vec<f64> {
    let mut times = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for ((_, work), times) in works.iter().zip(&mut times) {
            let start = Instant::now();
            work();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let median = |((name, _), mut times): (&(&str, &dyn Fn()), Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        println!("{name:40} {:.3} s ({median:.3} s)", times[0]);
        median
    };
    works.iter().zip(times).map(median).collect()
}

fn random(images: usize) -> (Vec<f32>, Vec<u8>) {
    let mut stream = Stream::new(0, "bench", 0, 0);
    let targets: Vec<u8> = (0..images * 80)
        .map(|_| u8::from(stream.chance(0.036)))
        .collect();
    let scores = (targets.iter())
        .map(|&target| (stream.normal() + f64::from(target)) as f32)
        .collect();
    (scores, targets)
}

fn serve() -> anyhow::Result<()> {
    let (mut scores, mut targets, mut classes) = (Vec::new(), Vec::new(), 0);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["load", scores_file, targets_file, count] => {
                classes = count.parse()?;
                scores = (std::fs::read(scores_file)?.chunks_exact(4))
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                targets = std::fs::read(targets_file)?;
                println!("{}", targets.len() / classes);
            }
            ["ap"] => {
                let start = Instant::now();
                let table = ScoreTable::new(&scores, &targets, classes)?;
                let values = average_precision_per_class(&table, ApMethod::Area);
                let seconds = start.elapsed().as_secs_f64();
                let defined: Vec<f64> = values.into_iter().flatten().collect();
                let mean = defined.iter().sum::<f64>() / defined.len() as f64;
                println!("{seconds} {mean}");
            }
            _ => anyhow::bail!("unknown request `{line}`"),
        }
    }
    Ok(())
}
