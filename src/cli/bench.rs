//! `dbloss bench`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use dbloss::data::augment::InputConfig;
use dbloss::data::loader::{Loader, LoaderOptions};
use dbloss::data::split::{Set, Split};
use dbloss::data::throughput::{self, LoaderEpoch, Stage};
use dbloss::feeding::{Amount, Feeding, feeding};
use dbloss::job::Machine;
use dbloss::model::backbone::adapter::{AdapterConfig, Kind};
use dbloss::model::backbone::profile::{Profile, profile};
use dbloss::model::backbone::{self, BackboneConfig, BackboneKind, Winograd};
use dbloss::report::table::Table;
use dbloss::rng::Stream;
use dbloss::rows::{self, Tables, number};
use dbloss::{Error, Result};

use super::common::{InputArgs, LoaderArgs, MachineArgs, SplitArg};
use super::output::{self, FormatArg};

const INPUT_EXAMPLES: &str = "\
Examples:
  Which stage of the input pipeline is the slowest?
    dbloss bench input splits/voc-mlt
  With an experiment's input size and augmentation, and four loader threads:
    dbloss bench input splits/shapes --config experiments/shapes.toml --workers 4
  Does memory stay flat?
    dbloss bench input splits/voc-mlt --epochs 10";

/// Measure training steps and the input pipeline.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dbloss bench step --backbone mobilenet_v2")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Input(InputStages),
    Step(StepArgs),
}

const STEP_EXAMPLES: &str = "\
Examples:
  dbloss bench step --backbone resnet50 --batch 32
  Does the input pipeline keep the network fed?
    dbloss bench step splits/voc-mlt --backbone mobilenet_v2";

/// Time training steps and inference of a backbone, on random pictures and on real ones.
#[derive(Debug, clap::Args)]
#[command(after_help = STEP_EXAMPLES)]
#[command(group(clap::ArgGroup::new("pictures").args(["folder", "split"])))]
struct StepArgs {
    /// The backbone, by its name in docs/backbones.md
    #[arg(long, default_value = "resnet50", value_name = "NAME")]
    backbone: String,
    /// Pictures per step
    #[arg(long, default_value_t = 32, value_name = "N")]
    batch: usize,
    /// Side of the pictures in pixels
    #[arg(long, default_value_t = 224, value_name = "PIXELS")]
    size: usize,
    /// Number of frozen stages; -1 for none
    #[arg(
        long,
        default_value_t = 1,
        value_name = "K",
        allow_negative_numbers = true
    )]
    frozen_stages: i32,
    /// Train only an adapter of this kind, with its defaults (`model.adapter.kind`)
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(Kind::NAMES))]
    adapter: Option<String>,
    /// Use the batch's own statistics in batch normalisation
    #[arg(long)]
    batch_statistics: bool,
    /// Use no Winograd convolutions (`model.winograd = "off"`)
    #[arg(long)]
    no_winograd: bool,
    /// Timed rounds, after one warm-up round
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Split folder: also train on its training pictures as the loader delivers them, to compare
    /// with a batch that stays in memory (the options about loading matter only here)
    #[arg(value_name = "SPLIT")]
    folder: Option<PathBuf>,
    /// How version 0.1 spelled it
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "folder")]
    split: Option<PathBuf>,
    /// With a split: timed steps of each kind per round
    #[arg(
        long,
        default_value_t = 16,
        value_name = "N",
        requires = "pictures",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    steps: u32,
    #[command(flatten)]
    format: FormatArg,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Time each stage of the input pipeline on one core, and the loader as a whole.
#[derive(Debug, clap::Args)]
#[command(after_help = INPUT_EXAMPLES)]
struct InputStages {
    #[command(flatten)]
    split: SplitArg,
    #[command(flatten)]
    input: InputArgs,
    /// Pictures to time, drawn at random
    #[arg(long, default_value_t = 500, value_name = "N")]
    count: usize,
    /// Epochs of the whole loader over these pictures
    #[arg(
        long,
        default_value_t = 3,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=1000)
    )]
    epochs: u64,
    #[command(flatten)]
    loader: LoaderArgs,
    /// Print CSV with full precision
    #[arg(long, conflicts_with = "format")]
    csv: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Input(args) => run_input(args),
        Command::Step(args) => run_step(args),
    }
}

fn run_step(args: StepArgs) -> Result<()> {
    let Some(kind) = BackboneKind::named(&args.backbone) else {
        let names = backbone::names().join(", ");
        let problem = format!("`{}` is not one of {names}", args.backbone);
        return Err(Error::argument("--backbone", problem));
    };
    // 32 is the stride of the last stage: a smaller picture has nothing left there.
    if args.batch == 0 || !(32..=4096).contains(&args.size) {
        let problem = "expected at least one picture of 32 to 4096 pixels";
        return Err(Error::argument("--batch, --size", problem));
    }
    let machine = args.machine.open()?;
    let config = BackboneConfig {
        name: kind,
        frozen_stages: args.frozen_stages,
        norm_eval: !args.batch_statistics,
        winograd: if args.no_winograd {
            Winograd::Off
        } else {
            Winograd::On
        },
        adapter: (Kind::defaults().into_iter())
            .find(|adapter| args.adapter.as_deref() == Some(adapter.name()))
            .map(AdapterConfig::from),
    };
    let amount = Amount {
        batch: args.batch,
        steps: args.steps as usize,
        rounds: args.rounds,
    };
    let loader = match args.folder.as_ref().or(args.split.as_ref()) {
        Some(split) => {
            let loader = loader_of(&args, split, &machine)?;
            amount.check(&loader)?;
            Some(loader)
        }
        None => None,
    };
    let profile = profile(&config, &machine.device, args.batch, args.size, args.rounds)?;
    let feeding = match loader {
        Some(loader) => {
            dbloss::interrupt::listen()?;
            Some(feeding(&config, &machine.device, &loader, amount)?)
        }
        None => None,
    };
    let mut tables = Tables::default();
    let operations: Vec<OperationRow> = profile.operations.iter().map(OperationRow::new).collect();
    tables.add("operations", &operations)?;
    let speed = SpeedRow {
        batch: args.batch,
        size: args.size,
        training: profile.training,
        inference: profile.inference,
        peak_memory_bytes: profile.peak_memory,
    };
    tables.add("speed", &[speed])?;
    if let Some(feeding) = &feeding {
        tables.add("feeding", &[FeedingRow::new(feeding)])?;
    }
    output::tables(args.format, &tables, || {
        let fed = feeding.as_ref().map(|feeding| fed(feeding, args.rounds));
        format!("{}{}", speeds(&args, &profile), fed.unwrap_or_default())
    });
    Ok(())
}

/// Processor time of an operation in a training step, in seconds.
#[derive(Serialize, Deserialize)]
struct OperationRow {
    operation: String,
    forward: f64,
    weight_gradient: f64,
    input_gradient: f64,
}

impl OperationRow {
    fn new((operation, times): &(String, [Duration; 3])) -> Self {
        let [forward, weight_gradient, input_gradient] = times.map(|time| time.as_secs_f64());
        OperationRow {
            operation: operation.clone(),
            forward,
            weight_gradient,
            input_gradient,
        }
    }
}

/// Pictures a second, the medians of the rounds.
#[derive(Serialize, Deserialize)]
struct SpeedRow {
    /// Pictures a step.
    batch: usize,
    /// Side of a picture in pixels.
    size: usize,
    training: f64,
    inference: f64,
    peak_memory_bytes: Option<u64>,
}

/// Pictures a second on the loader's batches and on one that stays in memory, and what is left of
/// the speed, with the middle half of the rounds.
#[derive(Serialize, Deserialize)]
struct FeedingRow {
    fed: f64,
    fixed: f64,
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
}

impl FeedingRow {
    fn new(feeding: &Feeding) -> Self {
        let ([fixed, fed], [ratio_low, ratio, ratio_high]) = (feeding.medians(), feeding.ratios());
        FeedingRow {
            fed,
            fixed,
            ratio,
            ratio_low,
            ratio_high,
        }
    }
}

/// The operations and the speed of a backbone, for people.
fn speeds(args: &StepArgs, profile: &Profile) -> String {
    let header = [
        "operation",
        "forward ms",
        "weight gradient ms",
        "input gradient ms",
    ];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    for (operation, times) in &profile.operations {
        let mut row = vec![operation.clone()];
        row.extend(times.map(|time| format!("{:.1}", time.as_secs_f64() * 1e3)));
        table.push(row);
    }
    let memory = profile.peak_memory.map_or(String::new(), |bytes| {
        format!(", peak memory {} MB", bytes / 1_000_000)
    });
    format!(
        "{}{} pictures of {} pixels: training {:.1} img/s (forward and backward), inference {:.1} img/s{memory}\n",
        table.to_terminal(),
        args.batch,
        args.size,
        profile.training,
        profile.inference,
    )
}

/// What the loader leaves of the speed, for people.
fn fed(feeding: &Feeding, rounds: usize) -> String {
    let ([fixed, fed], [low, ratio, high]) = (feeding.medians(), feeding.ratios());
    format!(
        "training on the loader's pictures {fed:.1} img/s, on a batch that stays in memory {fixed:.1} img/s: {ratio:.3} of it (half of {} rounds between {low:.3} and {high:.3})\n",
        rounds.max(1),
    )
}

fn loader_of(args: &StepArgs, split: &Path, machine: &Machine) -> Result<Loader> {
    let whole = Split::read(split)?;
    let (table, root) = whole.set(Set::Train, split)?;
    let input = InputConfig {
        size: args.size as u32,
        ..InputConfig::default()
    };
    input.check(&"input".into())?;
    let options = LoaderOptions {
        batch_size: args.batch,
        ..machine.loader_options()
    };
    Loader::new(Arc::clone(table), root.clone(), input, options)
}

fn run_input(args: InputStages) -> Result<()> {
    let config = args.input.config()?;
    let (table, root) = args.input.images(args.split.folder())?;
    let mut indices: Vec<u32> = (0..table.len() as u32).collect();
    Stream::new(0, "bench", 0, 0).shuffle(&mut indices);
    indices.truncate(args.count.max(1));
    if indices.is_empty() {
        return Err(Error::file(
            args.split.folder(),
            "has no pictures in this set",
        ));
    }
    let stages = throughput::stages(&table, &root, &config, &indices)?;
    let options = args.loader.options();
    let epochs = throughput::loader(&table, &root, &config, &options, &indices, args.epochs)?;
    let rows = input_rows(&stages, &epochs);
    if args.csv {
        output::data(&rows::to_text(&rows));
        return Ok(());
    }
    output::table(args.format, rows, |_| {
        let of_training = stages.iter().filter(|stage| stage.of_training);
        let slowest = of_training.max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let slowest = slowest.map(|slowest| {
            format!(
                "\nslowest stage: {}, {:.0} % of the time on {} pictures of {size} x {size} pixels\n\n",
                slowest.name,
                100.0 * slowest.seconds / training_seconds(&stages),
                indices.len(),
                size = config.size,
            )
        });
        let (stages, epochs) = (
            stages_table(&stages).to_terminal(),
            epochs_table(&epochs, options.workers).to_terminal(),
        );
        format!("{stages}{}{epochs}", slowest.unwrap_or_default())
    })
}

/// Seconds a picture on one core, from the file to the network's input.
fn training_seconds(stages: &[Stage]) -> f64 {
    let of_training = stages.iter().filter(|stage| stage.of_training);
    of_training.map(|stage| stage.seconds).sum()
}

/// A stage of the input pipeline on one core, or an epoch of the loader as a whole.
#[derive(Serialize, Deserialize)]
struct StageRow {
    stage: String,
    #[serde(serialize_with = "number::full")]
    seconds_per_picture: f64,
    #[serde(serialize_with = "number::full")]
    pictures_per_second: f64,
    /// The process's memory after an epoch; empty for a stage.
    memory_bytes: Option<u64>,
}

fn input_rows(stages: &[Stage], epochs: &[LoaderEpoch]) -> Vec<StageRow> {
    let row = |stage: &str, seconds: f64, memory_bytes| StageRow {
        stage: stage.to_owned(),
        seconds_per_picture: seconds,
        pictures_per_second: 1.0 / seconds,
        memory_bytes,
    };
    let mut rows: Vec<StageRow> = (stages.iter())
        .map(|stage| row(stage.name, stage.seconds, None))
        .collect();
    rows.push(row("training in all", training_seconds(stages), None));
    for (number, epoch) in (1..).zip(epochs) {
        let name = format!("loader epoch {number}");
        rows.push(row(&name, 1.0 / epoch.pictures_per_second, epoch.memory));
    }
    rows
}

fn stages_table(stages: &[Stage]) -> Table {
    let training = training_seconds(stages);
    let header = ["one core", "ms a picture", "pictures/s", "of training"];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    let mut row = |name: &str, seconds: f64, part: String| {
        table.push(vec![
            name.to_owned(),
            format!("{:.3}", seconds * 1e3),
            format!("{:.0}", 1.0 / seconds),
            part,
        ]);
    };
    for stage in stages {
        let part = match stage.of_training {
            true => format!("{:.0} %", 100.0 * stage.seconds / training),
            false => String::new(),
        };
        row(stage.name, stage.seconds, part);
    }
    row("training in all", training, String::new());
    table
}

fn epochs_table(epochs: &[LoaderEpoch], workers: usize) -> Table {
    let mut table = Table::new(vec![
        format!("loader, {workers} threads"),
        "pictures/s".to_owned(),
        "memory MB".to_owned(),
    ]);
    for (number, epoch) in (1..).zip(epochs) {
        let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
        table.push(vec![
            format!("epoch {number}"),
            format!("{:.0}", epoch.pictures_per_second),
            epoch.memory.map_or(String::new(), megabytes),
        ]);
    }
    table
}
