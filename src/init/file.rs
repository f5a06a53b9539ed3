//! Writes a proposal as an experiment file with comments.

use std::fmt::Write;
use std::path::Path;

use toml::{Table, Value};

use super::Proposal;
use crate::error::{Error, Result};
use crate::io::absolute;
use crate::model::weights::is_path;

/// Returns the text of the experiment `name` for the file at `path`. Paths in it are relative if
/// that file is in the working directory, otherwise absolute. `weights` is a file or a name on the
/// hub, or empty for random weights; `None` uses those of the proposal.
///
/// # Errors
/// Returns an error if a value cannot be written as TOML.
pub fn text(proposal: &Proposal, name: &str, path: &Path, weights: Option<&str>) -> Result<String> {
    let advice = &proposal.advice;
    let mut text = String::new();
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    say(format!(
        "# {name}, an experiment on your own pictures, written by `dbloss init`."
    ));
    say("#".to_owned());
    say(format!("# command   dbloss run {}", path.display()));
    for (i, sentence) in proposal.seen.iter().enumerate() {
        let mark = if i == 0 { "seen   " } else { "       " };
        say(format!("# {mark}   {}", one_line(sentence)));
    }
    for doubt in &proposal.doubts {
        say(format!("# doubt     {}", one_line(doubt)));
    }
    say(format!("name = {}", quoted(name)));
    say(String::new());
    say(split_table(proposal, path)?);
    let weights = weights.unwrap_or(advice.weights);
    let is_path = !weights.is_empty() && is_path(weights);
    let weights = match is_path && !is_here(path) {
        true => absolute(Path::new(""), Path::new(weights))
            .to_string_lossy()
            .into_owned(),
        false => weights.to_owned(),
    };
    say(model_table(proposal, &weights));
    say(format!(
        "[input]\nsize = {}                   # side of the pictures for the network, in pixels\n",
        advice.size
    ));
    say(format!(
        "[optimizer]\nlearning_rate = {}     # in proportion to the paper's 0.02 for batches of 32\n",
        Value::Float(advice.learning_rate)
    ));
    say(SCHEDULE.to_owned());
    say(format!(
        "[train]\nbatch_size = {}\nepochs = {}                  # passes over the pictures; too little memory is \
         reported before\n",
        advice.batch_size, advice.epochs
    ));
    say(METHODS.replace("IMAGES", &advice.images.to_string()));
    Ok(text.trim_end().to_owned() + "\n")
}

const SCHEDULE: &str = "\
[schedule]
kind = \"step\"
milestones = [0.6, 0.85]     # the rate falls tenfold at these parts of the training
warmup_iterations = 0.1      # the first tenth
";

const METHODS: &str = "\
# What is compared: plain training, and the paper's loss with its sampler. `dbloss loss list` has the
# other losses; `dbloss config show base/methods --method NAME` the other rows of the paper's table.
[methods.erm]
loss = { name = \"bce\" }
sampler = { kind = \"uniform\" }

# Both see as many pictures an epoch as there are.
[methods.db-focal]
loss = { name = \"db-focal\" }
sampler = { kind = \"class-aware\", epoch_length = IMAGES }
";

/// Returns the table `[split]`.
fn split_table(proposal: &Proposal, path: &Path) -> Result<String> {
    let (split, advice) = (&proposal.split, &proposal.advice);
    let (mut source, here) = (proposal.source.clone(), is_here(path));
    source.each_path(&mut |_, path| {
        if !here {
            *path = absolute(Path::new(""), path);
        }
    });
    let table = Table::try_from(&source).map_err(|e| Error::input("the source", e))?;
    let mut text = String::from("[split]\n");
    let mut line = |key: &str, value: String, why: &str| {
        let pair = format!("{key} = {value}");
        // Writing into memory cannot fail.
        let _ = writeln!(text, "{pair:<28} # {why}");
    };
    line("seed", split.seed.to_string(), "of every draw below");
    let why = match split.validation > 0.0 {
        true => "this fraction of the pictures is for choosing thresholds and checkpoints",
        false => "too few pictures to spare any for choosing thresholds and checkpoints",
    };
    line(
        "validation",
        Value::Float(split.validation).to_string(),
        why,
    );
    if split.test > 0.0 {
        line(
            "test",
            Value::Float(split.test).to_string(),
            "this fraction is the test set",
        );
    }
    text.push_str(
        "distribution = { kind = \"as-is\" } # nothing is left out to make it long-tailed\n",
    );
    let _ = writeln!(
        text,
        "\n[split.source]\n{}\n[split.groups]                # bounds in training pictures per class, for the \
         rows of the tables\nhead = {}\ntail = {}\n",
        toml::to_string(&table).map_err(|e| Error::input("the source", e))?,
        advice.groups.head,
        advice.groups.medium
    );
    Ok(text.trim_end().to_owned() + "\n")
}

/// Returns the table `[model]`.
fn model_table(proposal: &Proposal, weights: &str) -> String {
    let backbone = proposal.advice.backbone;
    let quoted = Value::String(weights.to_owned());
    match weights.is_empty() {
        true => format!(
            "[model]\nbackbone = \"{backbone}\"\nweights = \"\"                 # random, so nothing may be \
             frozen\nfrozen_stages = -1\nnorm_eval = false\n"
        ),
        false => format!(
            "[model]\nbackbone = \"{backbone}\"         # docs/backbones.md has the others\nweights = \
             {quoted} # from the Hugging Face hub, or a .safetensors or .pth file\n"
        ),
    }
}

/// Returns whether a file is in the working directory.
fn is_here(path: &Path) -> bool {
    (path.parent()).is_none_or(|folder| folder.as_os_str().is_empty())
}

/// Replaces line breaks, which would end a comment.
fn one_line(text: &str) -> String {
    crate::wording::printable(text).replace(['\n', '\r'], " ")
}
