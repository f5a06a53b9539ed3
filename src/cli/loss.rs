//! `dbloss loss`.

use std::path::PathBuf;

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use dbloss::config::Layers;
use dbloss::data::labels::Group;
use dbloss::data::split::Split;
use dbloss::error::KeyPath;
use dbloss::io::write_text;
use dbloss::loss::profile::{ClassProfile, curve, profile};
use dbloss::loss::{Loss, LossConfig, pages, start_gradient};
use dbloss::report::loss_curves::{Curve, loss_curves};
use dbloss::report::table::Table;
use dbloss::rows::{self, number};
use dbloss::{Error, Result};

use super::output::{self, DocumentFormat, FormatArg};

/// List the losses, and show what one does to the classes of a split.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
}

/// Print every loss with its formula, its source, and its keys (meaning, default, range, unit).
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: DocumentFormat,
}

const EXAMPLES: &str = "\
Examples:
  dbloss loss show db-focal --split splits/voc-mlt
  dbloss loss show db --split splits/coco-mlt --set mu=0.2 --set lambda=2 --out db.svg";

/// Print the weights and biases that a loss gives to each class of a split.
///
/// A weight is the mean over the training images that show the class (positive) or do not
/// (negative), with each image counted once. A shift is what is added to a logit before the loss:
/// margin, negative tolerance and logit adjustment together. --out draws the loss and its gradient
/// as functions of the logit, for a head class and a tail class.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ShowArgs {
    #[arg(help = pages::names_help())]
    name: String,
    /// The split folder, for the class counts
    #[arg(long, value_name = "DIR")]
    split: PathBuf,
    /// Set a key, for example `--set kappa=0.1` or `--set weight.kind=inverse`; may be
    /// repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Print CSV with full precision instead of a table
    #[arg(long, conflicts_with = "format")]
    csv: bool,
    #[command(flatten)]
    format: FormatArg,
    /// Draw the curves to this SVG file
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the SVG file if it exists
    #[arg(long, requires = "out")]
    force: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List(args) => {
            output::data(&match args.format {
                DocumentFormat::Text => pages::list()?,
                DocumentFormat::Json => pages::json()?,
                DocumentFormat::Markdown => pages::markdown()?,
            });
            Ok(())
        }
        Command::Show(args) => show(&args),
    }
}

fn show(args: &ShowArgs) -> Result<()> {
    let mut layers = Layers::default();
    for assignment in &args.assignments {
        layers.set(assignment)?;
    }
    let mut table = layers.table().clone();
    table.insert("name".into(), args.name.clone().into());
    let config = LossConfig::from_table(&table, &KeyPath::root())
        .map_err(|error| layers.tree().locate(error))?;
    if let Some(out) = &args.out
        && out.exists()
        && !args.force
    {
        return Err(Error::file(out, "exists already")
            .hint("name another file, or pass `--force` to replace it"));
    }
    let split = Split::read(&args.split)?;
    let loss = config.build(&split.train.class_frequency())?;
    let profiles = match loss.elementwise() {
        Some(elementwise) => Some(profile(elementwise, &split.train)?),
        None => {
            tracing::warn!(
                "`{}` is not a sum over single logits: it has no class weights",
                config.name()
            );
            None
        }
    };
    let rows = profile_rows(&split, profiles.as_deref());
    match args.csv {
        true => output::data(&rows::to_text(&rows)),
        false => output::table(args.format, rows, class_table)?,
    }
    tracing::info!("{}", size(loss.as_ref(), &split)?);
    if let Some(out) = &args.out {
        draw(&config, loss.as_ref(), profiles.as_deref(), &split, out)?;
        tracing::info!("wrote {}", out.display());
    }
    Ok(())
}

/// How large the loss is on the training images, each once, in batches of 32.
fn size(loss: &dyn Loss, split: &Split) -> Result<String> {
    let (labels, batch_size) = (&split.train, 32);
    let targets = labels.targets_of(0..labels.len());
    let frequency = labels.class_frequency();
    let start = start_gradient(loss, &targets, &frequency, batch_size, 0)?;
    Ok(format!(
        "gradient with respect to the logits at the start, over batches of {batch_size}: norm {}, {} times that of \
         `bce`",
        short(start.norm),
        short(start.ratio())
    ))
}

const HEADER: [&str; 8] = [
    "class",
    "images",
    "group",
    "weight of positives",
    "weight of negatives",
    "class bias",
    "shift of positives",
    "shift of negatives",
];

/// What a loss does to a class, a row of the table; empty where it does not say.
#[derive(Serialize, Deserialize)]
struct ProfileRow {
    class: String,
    /// Training images.
    images: usize,
    group: Group,
    /// Mean weight over the images that show the class.
    #[serde(serialize_with = "number::full_or_empty")]
    weight_positive: Option<f64>,
    /// Mean weight over the others.
    #[serde(serialize_with = "number::full_or_empty")]
    weight_negative: Option<f64>,
    /// Taken off the logit.
    #[serde(serialize_with = "number::full_or_empty")]
    class_bias: Option<f64>,
    /// Added to the logit of a positive before the loss.
    #[serde(serialize_with = "number::full_or_empty")]
    shift_positive: Option<f64>,
    /// Added to the logit of a negative before the loss.
    #[serde(serialize_with = "number::full_or_empty")]
    shift_negative: Option<f64>,
}

fn profile_rows(split: &Split, profiles: Option<&[ClassProfile]>) -> Vec<ProfileRow> {
    let counts = split.train.class_counts();
    let row = |class: usize| {
        let profile = profiles.map(|profiles| profiles[class]);
        ProfileRow {
            class: split.train.classes()[class].clone(),
            images: counts[class],
            group: split.groups[class],
            weight_positive: profile.and_then(|p| p.weight_positive),
            weight_negative: profile.and_then(|p| p.weight_negative),
            class_bias: profile.map(|p| p.bias),
            shift_positive: profile.map(|p| p.shift_positive),
            shift_negative: profile.map(|p| p.shift_negative),
        }
    };
    (0..split.train.num_classes()).map(row).collect()
}

fn class_table(rows: &[ProfileRow]) -> String {
    let mut table = Table::new(HEADER.map(str::to_owned).into());
    for row in rows {
        let numbers = [
            row.weight_positive,
            row.weight_negative,
            row.class_bias,
            row.shift_positive,
            row.shift_negative,
        ];
        let mut cells = vec![
            row.class.clone(),
            row.images.to_string(),
            row.group.to_string(),
        ];
        cells.extend(numbers.map(|x| x.map_or(String::new(), short)));
        table.push(cells);
    }
    table.to_terminal()
}

/// Four significant digits, without an exponent where that is short.
fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let digits = 3 - x.abs().log10().floor() as i32;
    match digits {
        0..=6 => format!("{x:.*}", digits as usize),
        ..0 => format!("{x:.0}"),
        _ => format!("{x:.3e}"),
    }
}

/// Curves of the class with the most and of that with the fewest training images.
fn draw(
    config: &LossConfig,
    loss: &dyn Loss,
    profiles: Option<&[ClassProfile]>,
    split: &Split,
    out: &std::path::Path,
) -> Result<()> {
    let counts = split.train.class_counts();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(counts[class]));
    let (Some(&head), Some(&tail)) = (order.first(), order.last()) else {
        return Err(Error::input("split", "has no class"));
    };
    let mut curves = Vec::new();
    for (slot, (class, other)) in [(head, tail), (tail, head)].into_iter().enumerate() {
        for positive in [true, false] {
            let side = if positive { "positive" } else { "negative" };
            let (name, n) = (&split.train.classes()[class], counts[class]);
            let logits = (0..=240).map(|k| -6.0 + 0.05 * f64::from(k));
            let classes = (class, other);
            curves.push(Curve {
                name: format!("{name} ({}, n = {n}), {side}", split.groups[class]),
                positive,
                class: slot,
                points: curve(loss, profiles, classes, counts.len(), positive, logits)?,
            });
        }
    }
    let title = match profiles {
        Some(_) => format!(
            "{}: one logit, with the mean weight of its class",
            config.name()
        ),
        None => format!("{}: one logit of an image, the others at 0", config.name()),
    };
    write_text(out, &loss_curves(&title, &curves)?)
}
