//! `dbloss init`.

use std::path::{Path, PathBuf};

use dbloss::config::{ExperimentFile, Layers};
use dbloss::init::{Found, Proposal, detect, name_of, text};
use dbloss::io::write_text;
use dbloss::{Error, Result, device};

use super::output;
use super::source::SourceOptions;

/// Write a first experiment for your own pictures
///
/// Looks at a table (CSV, TSV, JSON lines), a COCO file, a VOC devkit, a folder with one folder of
/// pictures per class, a folder of LabelMe files, or a folder that contains one of these. If the
/// kind is not recognised, name it with an option. The file that is written says what was found,
/// and contains settings that fit the number of pictures and the machine, with a reason for each.
#[derive(Debug, clap::Args)]
#[command(mut_group("from", |group| group.required(true).arg("path")))]
#[command(after_help = "Examples:
  dbloss init photos/
  dbloss init train.csv --name birds
  dbloss init train.csv --weights resnet18.safetensors --out experiments/birds.toml
  dbloss init --table all.csv --separator comma --test held-out.csv")]
pub(super) struct Args {
    /// The annotations, or the folder of pictures
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Name of the experiment [default: the name of the source]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// File to write [default: <name>.toml]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Weights that the backbone starts from: a file, a name on the Hugging Face hub, or `none` for
    /// random ones [default: ImageNet weights from the hub]
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// Device that the training will use: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    #[command(flatten)]
    source: SourceOptions,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let found = match (&args.path, args.source.source("PATH")?) {
        (_, Some(source)) => Found {
            source,
            seen: Vec::new(),
        },
        (Some(path), None) => detect(path)?,
        (None, None) => return Err(Error::argument("the source", "is missing")),
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => own_name(args.path.as_deref(), &found),
    };
    let out = (args.out).unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    // Refused before the source is read, not after.
    if out.exists() && !args.force {
        return Err(Error::file(&out, "exists already")
            .hint("name another file with `--out`, or pass `--force` to replace it"));
    }
    let has_gpu = device::parse(&args.device)?.is_cuda();
    let proposal = Proposal::new(found.source, found.seen, has_gpu)?;
    let weights = args.weights.as_deref();
    let weights = weights.map(|name| if name == "none" { "" } else { name });
    let text = text(&proposal, &name, &out, weights)?;
    // What is written has to be good.
    let layers = Layers::parse(&out, &text)?;
    ExperimentFile::of(&out, layers, &[])?.resolve_all(&[], &[])?;
    write_text(&out, &text)?;
    for sentence in &proposal.seen {
        tracing::info!("{sentence}");
    }
    for doubt in &proposal.doubts {
        tracing::warn!("{doubt}");
    }
    output::data(&next(&name, &out));
    Ok(())
}

/// The experiment's name where none is given.
fn own_name(path: Option<&Path>, found: &Found) -> String {
    let mut source = found.source.clone();
    let mut first = None;
    source.each_path(&mut |_, path| {
        first.get_or_insert_with(|| path.clone());
    });
    let path = path.map(Path::to_owned).or(first);
    path.map_or_else(|| "mine".to_owned(), |path| name_of(&path))
}

/// What to do with the file.
fn next(name: &str, out: &Path) -> String {
    let out = out.display();
    format!(
        "wrote {out}; next:\n  dbloss config check {out}\n  dbloss run {out}\n  dbloss predict \
         runs/{name}/db-focal-s0 NEW_PICTURES > labels.csv"
    )
}
