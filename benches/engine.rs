//! Measures the images per second of the CPU engine: inference and whole training steps (forward,
//! backward, SGD with momentum) on random pictures.
//!
//! ```text
//! cargo bench --bench engine -- [BACKBONE ...] [--batch N] [--size N] [--rounds N] [--threads N]
//!                               [--frozen-stages N] [--batch-norm running|batch] [--winograd on|off]
//!                               [--serve]
//! ```
//!
//! With `--serve` it reads lines `train` or `infer` from standard input, runs one of these for each
//! and prints the seconds taken: `benches/peer/engine.py` uses this to alternate with PyTorch.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use dbloss::Result;
use dbloss::model::Parameters;
use dbloss::model::backbone::profile::training_step;
use dbloss::model::backbone::{Backbone, BackboneConfig, BackboneKind, Winograd, build};
use dbloss::model::builder::Builder;
use dbloss::optim::{Optimizer, OptimizerConfig};

/// A network, its optimiser and a batch.
struct Bench {
    parameters: Parameters,
    backbone: Box<dyn Backbone>,
    optimizer: Optimizer,
    images: Tensor,
}

impl Bench {
    fn new(config: &BackboneConfig, batch: usize, size: usize) -> Result<Self> {
        let builder = Builder::new(&Device::Cpu, DType::F32, 0);
        let backbone = build(config, &builder)?;
        let parameters = builder.parameters();
        Ok(Bench {
            optimizer: Optimizer::new(&OptimizerConfig::default(), &parameters)?,
            backbone,
            parameters,
            images: Tensor::rand(-1f32, 1f32, (batch, size, size, 3), &Device::Cpu)?,
        })
    }

    /// Returns the seconds of one pass over the batch.
    fn infer(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.backbone.features(&self.images)?.pooled()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Returns the seconds of one training step.
    fn train(&mut self) -> Result<f64> {
        let start = Instant::now();
        let gradients = training_step(&*self.backbone, &self.images)?;
        (self.optimizer).step(&self.parameters, &gradients, 1e-6, 1.0)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn main() -> Result<()> {
    dbloss::ops::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let place = arguments.iter().position(|a| a == name)?;
        arguments.get(place + 1).cloned()
    };
    let number = |name: &str, default: i32| {
        text(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    };
    let (batch, size) = (
        number("--batch", 32) as usize,
        number("--size", 224) as usize,
    );
    let rounds = number("--rounds", 3).max(1);
    let threads = number("--threads", 0) as usize;
    if let Err(error) = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
    {
        eprintln!("{error}");
    }
    let chosen = |kind: &BackboneKind| arguments.iter().any(|a| a == kind.name());
    let any = BackboneKind::all().any(|kind| chosen(&kind));
    let serve = arguments.iter().any(|a| a == "--serve");
    if !serve {
        println!("{rounds} rounds, batch {batch}, {size} x {size}: median images per second");
    }
    for kind in BackboneKind::all().filter(|k| !any || chosen(k)) {
        let config = BackboneConfig {
            name: kind,
            frozen_stages: number("--frozen-stages", 1),
            norm_eval: text("--batch-norm").as_deref() != Some("batch"),
            winograd: match text("--winograd").as_deref() {
                Some("off") => Winograd::Off,
                _ => Winograd::On,
            },
            adapter: None,
        };
        let mut bench = Bench::new(&config, batch, size)?;
        if serve {
            return answer(&mut bench);
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let seconds = [bench.infer()?, bench.train()?];
            // The first round is a warm-up.
            if round > 0 {
                for (times, seconds) in times.iter_mut().zip(seconds) {
                    times.push(seconds);
                }
            }
        }
        let [inference, training] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            batch as f64 / times[times.len() / 2]
        });
        println!("{kind:>14}: inference {inference:7.1}, training {training:7.1}");
    }
    Ok(())
}

/// Runs the operation named by each line of standard input.
fn answer(bench: &mut Bench) -> Result<()> {
    for line in std::io::stdin()
        .lock()
        .lines()
        .map_while(std::io::Result::ok)
    {
        let seconds = match line.trim() {
            "infer" => bench.infer()?,
            "train" => bench.train()?,
            _ => break,
        };
        println!("{seconds}");
        if std::io::stdout().flush().is_err() {
            break;
        }
    }
    Ok(())
}
