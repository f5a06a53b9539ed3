//! `dbloss view`.

use std::path::PathBuf;

use dbloss::report::sheet::{self, SheetOptions};
use dbloss::rng::Stream;
use dbloss::wording::counted;
use dbloss::{Error, Result, io};

use super::common::{InputArgs, SplitArg, class_named, free_file};
use super::output;

const EXAMPLES: &str = "\
Examples:
  The training pictures, and what augmentation does to them:
    dbloss view splits/shapes --augment
  All training pictures of a rare class:
    dbloss view splits/voc-mlt --class cow --out cow.html
  The test pictures with an experiment's size and augmentation:
    dbloss view splits/shapes --on test --config experiments/shapes.toml";

/// Draw a contact sheet of pictures as the network sees them.
///
/// Each picture is resized and normalised as for the network, and shown with its name and labels.
/// With --augment, augmented copies as in training stand beside it. Many errors in data are easiest
/// to find by eye: look at a sheet before training.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    split: SplitArg,
    /// File to write: a page (.html), or one picture without text (.png); an existing one is
    /// replaced only with --force
    #[arg(long, default_value = "sheet.html", value_name = "FILE")]
    out: PathBuf,
    /// Replace the file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    input: InputArgs,
    /// Augmented copies beside each picture
    #[arg(long, default_value_t = 0, num_args = 0..=1, default_missing_value = "3", value_name = "COPIES")]
    augment: usize,
    /// Pictures on the sheet, drawn at random
    #[arg(long, default_value_t = 24, value_name = "N")]
    count: usize,
    /// Only pictures with this class
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Tiles per row
    #[arg(long, default_value_t = 8, value_name = "N")]
    columns: usize,
    /// Seed for choosing the pictures and augmenting them
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = super::common::seed)]
    seed: u64,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    free_file(&args.out, args.force)?;
    let ending = args.out.extension().unwrap_or_default();
    let ending = ending.to_string_lossy().to_lowercase();
    if !["html", "htm", "png"].contains(&ending.as_str()) {
        let problem = format!("`{}` is neither an HTML nor a PNG file", args.out.display());
        return Err(Error::argument("--out", problem)
            .hint("choose a name that ends in `.html` for a page with names and labels, or in `.png` for a picture without"));
    }
    if args.augment > 30 || args.columns > 100 || args.count > 2000 {
        return Err(Error::input(
            "sheet",
            "is too large; at most 2000 pictures, 100 columns and 30 copies fit",
        ));
    }
    let config = args.input.config()?;
    let (table, root) = args.input.images(args.split.folder())?;
    let mut images: Vec<u32> = match &args.class {
        None => (0..table.len() as u32).collect(),
        Some(name) => {
            let class = class_named(table.classes(), name, "--class")?;
            table.images_by_class().swap_remove(class)
        }
    };
    if images.is_empty() {
        return Err(Error::file(
            args.split.folder(),
            "has no picture that matches",
        ));
    }
    Stream::new(args.seed, "view", 0, 0).shuffle(&mut images);
    images.truncate(args.count.max(1));
    images.sort_unstable();
    let options = SheetOptions {
        images,
        copies: args.augment,
        columns: args.columns,
        seed: args.seed,
    };
    let bytes = match ending.as_str() {
        "png" => sheet::picture(&table, &root, &config, &options)?.to_png()?,
        _ => {
            let split = args.split.folder();
            let title = format!("Pictures of {}", split.display());
            sheet::page(&title, &table, &root, &config, &options)?.into_bytes()
        }
    };
    io::write_atomic(&args.out, |writer| Ok(writer.write_all(&bytes)?))?;
    output::data(&format!(
        "{}: {}",
        args.out.display(),
        counted(options.images.len(), "picture")
    ));
    Ok(())
}
