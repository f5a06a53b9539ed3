//! Measures the split builder: the replay, and a large table.
//!
//! ```text
//! cargo bench --bench split -- POOL.csv [--replay]
//! ```
//!
//! Reads the label table, orders the classes and draws the subset by the published construction;
//! each step is timed, and the best of seven times is printed. With `--replay` it also rebuilds the
//! released VOC-MLT list, for which the table must be that of VOC2012 trainval.

use std::path::PathBuf;
use std::time::Instant;

use dbloss::data::formats::table;
use dbloss::data::longtail::{self, Pareto};
use dbloss::data::replay;

/// Returns the best of seven times, in milliseconds, and the last result.
fn best<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut fastest = f64::INFINITY;
    let mut result = None;
    for _ in 0..7 {
        let start = Instant::now();
        result = Some(work());
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
    }
    match result {
        Some(result) => (fastest, result),
        None => unreachable!("seven rounds"),
    }
}

fn main() -> dbloss::Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let Some(path) = arguments
        .iter()
        .find(|a| !a.starts_with("--"))
        .map(PathBuf::from)
    else {
        println!("name a label table: cargo bench --bench split -- POOL.csv [--replay]");
        return Ok(());
    };
    let (read, pool) = best(|| table::read(&path, None));
    let pool = pool?;
    let (order, classes) = best(|| longtail::class_order(&pool));
    let wanted = Pareto::default().counts(classes.len())?;
    let (draw, subset) = best(|| longtail::draw(&pool, &classes, &wanted, 0, 0));
    println!("{} images, {} classes", pool.len(), pool.num_classes());
    println!("read   {read:8.2} ms");
    println!("order  {order:8.2} ms");
    println!("draw   {draw:8.2} ms ({} images)", subset.images.len());
    if arguments.iter().any(|a| a == "--replay") {
        let (replay, subset) = best(|| replay::voc_mlt(&pool));
        println!("replay {replay:8.2} ms ({} images)", subset?.images.len());
    }
    Ok(())
}
