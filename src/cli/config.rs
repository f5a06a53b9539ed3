//! `dbloss config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dbloss::config::keys::{self, KeyRow};
use dbloss::config::{Experiment, ExperimentFile, Layers, embedded};
use dbloss::data::sampler::SamplerConfig;
use dbloss::data::split::Split;
use dbloss::io::write_text;
use dbloss::job::Room;
use dbloss::model::backbone;
use dbloss::plan::{SweepConfig, SweepFile};
use dbloss::report::table::Table;
use dbloss::wording::counted;
use dbloss::{Error, Result, job, loss, rows};

use super::common::OverrideArgs;
use super::output::{self, DocumentFormat, FormatArg};

/// Show, check and list configurations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss config show experiments/shapes.toml --method db-focal --set loss.mu=0.4
  dbloss config check experiments/shapes.toml
  dbloss config list
  dbloss config keys schedule
  dbloss config keys --file sweep tune
  dbloss config write voc-mlt/db-focal --to my-experiments")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the resolved configuration of a method as TOML
    Show {
        /// The experiment file, or the name of an embedded one (`dbloss config list`)
        file: PathBuf,
        /// Which of the file's methods
        #[arg(long, value_name = "NAME")]
        method: Option<String>,
        #[command(flatten)]
        overrides: OverrideArgs,
    },
    /// Check files: every key, range and method
    Check {
        /// The experiment files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        overrides: OverrideArgs,
    },
    /// List the embedded experiments, and the names of losses, samplers and backbones
    ///
    /// Every command that takes an experiment file also takes one of these names.
    List {
        /// List the files in this folder instead of the embedded ones
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        #[command(flatten)]
        format: FormatArg,
    },
    /// List every key with its type, default, range and meaning
    Keys {
        /// Only this key or the keys of this table, for example `train` or `model.head`
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
        /// Keys of which files: experiments, or what `dbloss sweep` and `dbloss tune` read
        #[arg(long, value_enum, default_value_t, value_name = "FILES")]
        file: FileKind,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: DocumentFormat,
    },
    /// Write copies of embedded experiments for you to change
    ///
    /// The files that they extend and the tables that they refer to are written too, in the same
    /// folders below DIR, so the copies work as they are.
    Write {
        /// Names of embedded experiments [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Folder to write into
        #[arg(long, value_name = "DIR", default_value = "experiments")]
        to: PathBuf,
        /// Replace existing files
        #[arg(long)]
        force: bool,
    },
}

/// Files whose keys are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum FileKind {
    /// Experiments.
    #[default]
    Experiment,
    /// Files of `dbloss sweep`, and of `dbloss tune`: those with `[tune]`.
    #[value(alias = "tune")]
    Sweep,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Show {
            file,
            method,
            overrides,
        } => {
            let file = ExperimentFile::read(&file, &overrides.assignments())?;
            output::data(&file.resolve(method.as_deref(), None)?.to_toml()?);
        }
        Action::Check { files, overrides } => {
            for path in files {
                let layers = Layers::read(&path)?;
                let assignments = overrides.assignments();
                let (experiments, jobs, kind) = match SweepFile::is_one(&layers) {
                    true => {
                        let sweep = SweepFile::of(&path, &layers)?;
                        let runs = sweep.experiments(&assignments)?;
                        (runs, sweep.config.jobs, "a sweep of ")
                    }
                    false => {
                        let file = ExperimentFile::of(&path, layers, &assignments)?;
                        (file.resolve_all(&[], &[])?, 1, "")
                    }
                };
                tell(&experiments, jobs)?;
                let runs = counted(experiments.len(), "run");
                output::data(&format!("{}: good, {kind}{runs}", path.display()));
            }
        }
        Action::List { folder, format } => list(folder.as_deref(), format)?,
        Action::Keys {
            prefix,
            file,
            format,
        } => list_keys(prefix.as_deref(), file, format)?,
        Action::Write { names, to, force } => write(&names, &to, force)?,
    }
    Ok(())
}

/// Tells of what is odd about experiments, of which `jobs` run at a time, as far as it can be known:
/// with their split if it is there already.
fn tell(experiments: &[Experiment], jobs: usize) -> Result<()> {
    let folder = experiments.first().and_then(|e| e.split_folder.as_deref());
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => {
            let room = Room::of_any_device(jobs);
            job::tell(experiments, &Split::read(folder)?, room)
        }
        None => {
            let mut told: Vec<String> = Vec::new();
            told.extend(experiments.iter().flat_map(|e| job::warnings(e, None)));
            told.sort();
            told.dedup();
            told.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(())
        }
    }
}

/// An experiment in the list.
#[derive(serde::Serialize, serde::Deserialize)]
struct ListRow {
    /// The name or the file.
    name: String,
    /// `experiment`, `sweep`, or `base` for what others extend.
    kind: String,
    /// What the header of the file says it is.
    title: String,
    /// Names of its methods, blanks between them.
    methods: String,
}

impl ListRow {
    /// The row of the file at `path`, called `name`.
    fn read(name: String, path: &Path, text: &str) -> Self {
        let title = title(text);
        let layers = Layers::read(path);
        if layers.as_ref().is_ok_and(SweepFile::is_one) {
            let (kind, methods) = ("sweep".to_owned(), String::new());
            return ListRow {
                name,
                kind,
                title,
                methods,
            };
        }
        let file = layers.and_then(|layers| ExperimentFile::of(path, layers, &[]));
        let (title, methods) = match &file {
            Ok(file) => (title, file.methods().join(" ")),
            Err(error) => (format!("({error})"), String::new()),
        };
        let first = file
            .as_ref()
            .ok()
            .and_then(|file| file.methods().first().copied());
        let resolved = (file.as_ref().ok()).map(|file| file.resolve(first, None));
        let kind = match resolved {
            Some(Ok(_)) => "experiment",
            _ => "base",
        };
        ListRow {
            name,
            kind: kind.to_owned(),
            title,
            methods,
        }
    }
}

/// The first sentence of the comment that a file begins with.
fn title(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    let words = (lines.map(str::trim)).take_while(|line| !line.is_empty());
    let whole = words.collect::<Vec<&str>>().join(" ");
    let end = whole.find(". ").map_or(whole.len(), |end| end + 1);
    whole[..end].trim_end_matches('.').to_owned()
}

fn list(folder: Option<&Path>, format: FormatArg) -> Result<()> {
    let mut rows = Vec::new();
    match folder {
        Some(folder) => {
            for path in dbloss::config::experiment_files(folder)? {
                let text = fs_err::read_to_string(&path)?;
                rows.push(ListRow::read(path.display().to_string(), &path, &text));
            }
        }
        None => {
            for (file, text) in embedded::files() {
                if let Some(name) = file.strip_suffix(".toml") {
                    rows.push(ListRow::read(
                        name.to_owned(),
                        &embedded::path_of(file),
                        text,
                    ));
                }
            }
        }
    }
    let text = |rows: &[ListRow]| {
        let widest = rows.iter().map(|row| row.name.chars().count()).max();
        let widest = widest.unwrap_or(0);
        let mut text = String::new();
        for ListRow {
            name, kind, title, ..
        } in rows
        {
            let mark = match kind.as_str() {
                "experiment" => String::new(),
                other => format!("({other}) "),
            };
            text.push_str(&format!("{name:widest$}  {mark}{title}\n"));
        }
        text.push('\n');
        for (what, names) in [
            ("losses", loss::names().join(" ")),
            ("samplers", SamplerConfig::KINDS.join(" ")),
            ("backbones", backbone::names().join(" ")),
        ] {
            text.push_str(&format!("{what}: {names}\n"));
        }
        text
    };
    output::table(format, rows, text)
}

/// Prints the reference of keys.
fn list_keys(prefix: Option<&str>, file: FileKind, format: DocumentFormat) -> Result<()> {
    let mut rows = match file {
        FileKind::Experiment => keys::rows::<Experiment>()?,
        FileKind::Sweep => keys::rows::<SweepConfig>()?,
    };
    if let Some(prefix) = prefix {
        rows = keys::below(&rows, prefix).or_else(|error| match file {
            FileKind::Experiment if keys::below(&keys::rows::<SweepConfig>()?, prefix).is_ok() => {
                let hint = format!("`dbloss config keys --file sweep {prefix}` has it");
                Err(error.hint(hint))
            }
            _ => Err(error),
        })?;
    }
    output::data(&match format {
        DocumentFormat::Json => rows::to_json(&rows)?,
        DocumentFormat::Markdown => keys_table(&rows),
        DocumentFormat::Text => rows.iter().map(describe).collect(),
    });
    Ok(())
}

/// Keys as a table of Markdown.
fn keys_table(rows: &[KeyRow]) -> String {
    let header = [
        "key",
        "only with",
        "holds",
        "default",
        "accepted",
        "meaning",
    ];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    for row in rows {
        let code = |text: &str| match text.is_empty() {
            true => String::new(),
            false => format!("`{text}`"),
        };
        table.push(vec![
            code(&row.key),
            code(&row.only_with),
            row.holds.clone(),
            match row.required {
                true => "must be given".to_owned(),
                false => code(&row.default),
            },
            row.range.clone(),
            row.meaning.clone(),
        ]);
    }
    table.to_markdown()
}

/// A key in a few lines.
fn describe(row: &KeyRow) -> String {
    let said = |words: &str, text: &str| match text.is_empty() {
        true => String::new(),
        false => format!("{words}{text}"),
    };
    let default = match row.required {
        true => "must be given".to_owned(),
        false => said("default ", &row.default),
    };
    // The range often says the type too.
    let holds = match row.range.is_empty() {
        true => row.holds.clone(),
        false => row.range.clone(),
    };
    let facts = [holds, default, said("with ", &row.only_with)];
    let facts: Vec<&str> = (facts.iter().map(String::as_str))
        .filter(|fact| !fact.is_empty())
        .collect();
    format!("{}  ({})\n    {}\n", row.key, facts.join("; "), row.meaning)
}

/// Writes the embedded experiments `names`, or all, with what they need, into the folder `to`.
fn write(names: &[String], to: &Path, force: bool) -> Result<()> {
    let mut files = BTreeMap::new();
    for (file, text) in embedded::files() {
        if names.is_empty() {
            files.insert((*file).to_owned(), *text);
        }
    }
    let mut wanted: Vec<PathBuf> = Vec::new();
    for name in names {
        wanted.push(embedded::named(name)?);
    }
    while let Some(path) = wanted.pop() {
        if let Some((file, text)) = embedded::file(&path)
            && files.insert(file.to_owned(), text).is_none()
        {
            wanted.extend(embedded::mentioned(&path, text));
        }
    }
    let paths: Vec<PathBuf> = files.keys().map(|file| to.join(file)).collect();
    if let Some(there) = paths.iter().find(|path| path.exists() && !force) {
        return Err(Error::file(there, "already exists")
            .hint("name another folder with `--to`, or replace it with `--force`"));
    }
    for (path, text) in paths.iter().zip(files.values()) {
        write_text(path, text)?;
        output::data(&path.display().to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_experiment_says_what_it_is() {
        for (file, text) in embedded::files() {
            if let Some(name) = file.strip_suffix(".toml") {
                let row = ListRow::read(name.to_owned(), &embedded::path_of(file), text);
                assert!(row.title.len() > 10, "{name}: {}", row.title);
                let expected = match name.split('/').next() {
                    Some("base") => "base",
                    Some("sweeps" | "tune") => "sweep",
                    _ => "experiment",
                };
                assert_eq!(row.kind, expected, "{name}");
            }
        }
    }
}
