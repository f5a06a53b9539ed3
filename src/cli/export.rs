//! `dbloss export`.

use std::path::{Path, PathBuf};

use dbloss::export::{self, Card};
use dbloss::job::{self, Opening, TrainedModel};
use dbloss::model::onnx::{GraphOptions, Normalisation};
use dbloss::run_dir::{Checkpoint, RunDir};
use dbloss::{Error, Result, io};

use super::common::{MachineArgs, checkpoint_parser};
use super::output;

/// Write a trained model to one file, for other programs to load
///
/// A safetensors file holds the tensors under the names of torchvision or timm, and in its metadata
/// a card with classes, thresholds, preprocessing, scores and the experiment; `dbloss predict`
/// accepts it instead of the run. An ONNX file holds a graph from pictures to one logit per class,
/// and the same card. The thresholds are the ones with the best F1 on the validation part, which is
/// scored first if necessary. docs/export.md shows how to load both.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss export runs/shapes/db-focal-s0
  dbloss export runs/shapes/db-focal-s0 --out cats.safetensors --card md
  dbloss export runs/shapes/db-focal-s0 --format onnx --with-preprocessing --probabilities
  dbloss export cats.safetensors --format onnx --out cats.onnx")]
pub(super) struct Args {
    /// Folder of a trained run, or a file that `dbloss export` wrote
    #[arg(value_name = "RUN")]
    model: PathBuf,
    /// What to write
    #[arg(long, default_value = "safetensors", value_name = "FORMAT")]
    format: Format,
    /// File to write; an existing one is replaced only with --force [default: in `export` in the
    /// run's folder, or beside the exported file]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file of `--out`
    #[arg(long, requires = "out")]
    force: bool,
    /// Also write the card to a file of its own, beside the model
    #[arg(long, value_name = "FORMAT")]
    card: Vec<CardFormat>,
    /// With `--format onnx`: normalise inside the graph, whose input is then bytes [pictures, rows,
    /// columns, RGB] of the network's size
    #[arg(long)]
    with_preprocessing: bool,
    /// With `--format onnx`: add a second output with probabilities
    #[arg(long)]
    probabilities: bool,
    /// Leave the thresholds out, so that nothing needs to be scored
    #[arg(long)]
    no_thresholds: bool,
    /// Which checkpoint of the run: `last`, `best` on the validation part, or `epoch-N` if it was
    /// kept
    #[arg(long, default_value = "last", value_name = "WHICH", value_parser = checkpoint_parser())]
    checkpoint: Checkpoint,
    /// The run's split, if it has moved
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Tensors under their published names
    Safetensors,
    /// A graph for ONNX runtimes
    Onnx,
    /// Only the backbone, in half precision, for `model.weights` of another training
    Backbone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CardFormat {
    /// Markdown
    Md,
    /// JSON
    Json,
}

impl CardFormat {
    /// Where the card of the file at `place` lies.
    fn place(self, place: &Path) -> PathBuf {
        place.with_extension(match self {
            CardFormat::Md => "md",
            CardFormat::Json => "json",
        })
    }
}

impl Format {
    /// The ending of its files.
    fn ending(self) -> &'static str {
        match self {
            Format::Safetensors | Format::Backbone => "safetensors",
            Format::Onnx => "onnx",
        }
    }
}

impl Args {
    /// Refuses options that would say nothing.
    fn check(&self) -> Result<()> {
        let idle = [
            ("--with-preprocessing", self.with_preprocessing),
            ("--probabilities", self.probabilities),
        ];
        if self.format == Format::Backbone && !self.card.is_empty() {
            let problem = "describes a whole model, not a backbone alone";
            return Err(Error::argument("--card", problem).hint("leave out one of the two"));
        }
        match idle.into_iter().find(|(_, given)| *given) {
            Some((option, _)) if self.format != Format::Onnx => {
                let problem = "applies to a graph, which a safetensors file does not contain";
                Err(Error::argument(option, problem).hint("add `--format onnx`"))
            }
            _ => Ok(()),
        }
    }

    /// Where to write, of which nothing is there that must stay.
    fn place(&self) -> Result<PathBuf> {
        let Some(out) = &self.out else {
            return self.usual_place();
        };
        let cards = self.card.iter().map(|card| card.place(out));
        if cards.clone().any(|card| card == *out) {
            let problem = format!("would overwrite {} itself", out.display());
            return Err(Error::argument("--card", problem));
        }
        for file in std::iter::once(out.clone()).chain(cards) {
            if file.is_dir() {
                return Err(Error::file(&file, "is a folder, expected a file's name"));
            }
            if file.exists() && !self.force {
                return Err(Error::file(&file, "already exists")
                    .hint("name another file, or pass `--force` to replace it"));
            }
        }
        Ok(out.clone())
    }

    fn usual_place(&self) -> Result<PathBuf> {
        let ending = self.format.ending();
        if self.model.is_file() {
            let place = self.model.with_extension(ending);
            return match place.exists() {
                true => {
                    Err(Error::file(&place, "already exists")
                        .hint("name another file with `--out`"))
                }
                false => Ok(place),
            };
        }
        let folder = std::path::absolute(&self.model)?;
        let name = folder.file_name().unwrap_or("model".as_ref());
        let mut name = name.to_owned();
        if self.checkpoint != Checkpoint::Last {
            name.push(format!("-{}", self.checkpoint.name()));
        }
        if self.format == Format::Backbone {
            name.push("-backbone");
        }
        name.push(format!(".{ending}"));
        Ok(RunDir::new(&self.model).exported().join(name))
    }
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    args.check()?;
    let place = args.place()?;
    let machine = args.machine.open()?;
    let opening = Opening {
        checkpoint: args.checkpoint,
        split_folder: args.split.as_deref(),
        thresholds: !args.no_thresholds && args.format != Format::Backbone,
        machine: &machine,
    };
    let trained = TrainedModel::open(&args.model, &opening)?;
    let card = job::card(&trained, &opening)?;
    if card.thresholds.chosen_on.is_none() && args.format != Format::Backbone {
        tracing::info!("no thresholds: {}", card.thresholds.rule);
    }
    match args.format {
        Format::Safetensors => {
            export::write_safetensors(&place, &trained.network.parameters, &card)?;
        }
        Format::Onnx => {
            let input = &trained.input;
            let options = GraphOptions {
                size: (input.size as usize, input.size as usize),
                normalisation: args.with_preprocessing.then_some(Normalisation {
                    mean: input.mean,
                    std: input.std,
                }),
                probabilities: args.probabilities,
            };
            export::write_onnx(&place, &trained.network, &card, &options)?;
        }
        Format::Backbone => export::write_backbone(&place, &trained.network)?,
    }
    output::data(&place.display().to_string());
    for format in &args.card {
        output::data(&write_card(&place, &card, *format)?.display().to_string());
    }
    Ok(())
}

/// Writes the card beside the file at `place`.
fn write_card(place: &Path, card: &Card, format: CardFormat) -> Result<PathBuf> {
    let text = match format {
        CardFormat::Md => card.to_markdown(),
        CardFormat::Json => card.to_json()? + "\n",
    };
    let path = format.place(place);
    io::write_text(&path, &text)?;
    Ok(path)
}
