//! The folder of a sweep: its runs, resolved, and the split that they share.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::SweepFile;
use crate::config::{Experiment, ExperimentFile};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::io::write_text;
use crate::job::{self, Existing};
use crate::run_dir::{Manifest, RunDir, RunLock};

/// One run of a sweep.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// `<method>-s<seed>`, with the point of the grid behind the method.
    pub name: String,
    /// What it is.
    pub experiment: Experiment,
    /// Hash of the configuration: what tells a finished run.
    pub hash: String,
}

/// The runs of a sweep and where they lie: `<out>/<name>/`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sweep's name.
    pub name: String,
    /// Its folder.
    pub home: PathBuf,
    /// Its runs, in the order of the tables. A run's index is its number in a job array.
    pub runs: Vec<PlannedRun>,
    /// Where the split lies, once there is one.
    split_folder: Option<PathBuf>,
}

/// `sweep.json`: what a task, or a later command, has to know of the sweep.
#[derive(Debug, Serialize, Deserialize)]
struct PlanFile {
    name: String,
    file: PathBuf,
    split_folder: PathBuf,
    runs: Vec<String>,
}

impl Plan {
    /// The plan of a sweep file. Nothing is written.
    pub fn new(file: &SweepFile, out: &Path, overrides: &[String]) -> Result<Self> {
        let runs = file.experiments(overrides)?;
        let planned = runs.into_iter().map(PlannedRun::new);
        Ok(Plan {
            name: file.name.clone(),
            home: out.join(&file.name),
            runs: planned.collect::<Result<_>>()?,
            split_folder: None,
        })
    }

    /// The plan in a sweep's folder, as it was prepared.
    pub fn open(home: &Path) -> Result<Self> {
        let path = home.join("sweep.json");
        if !path.is_file() {
            return Err(
                Error::file(home, "is not a sweep's folder: it has no `sweep.json`")
                    .hint("`dbloss sweep SWEEP.toml` makes one; give the same `--out` as there"),
            );
        }
        let text = fs_err::read_to_string(&path)?;
        let file: PlanFile = serde_json::from_str(&text)
            .map_err(|e| Error::file(&path, format_args!("is not a sweep: {e}")))?;
        let read = |name: &String| {
            let config = home.join("configs").join(format!("{name}.toml"));
            PlannedRun::new(ExperimentFile::read(&config, &[])?.resolve(None, None)?)
        };
        Ok(Plan {
            name: file.name,
            home: home.to_owned(),
            runs: file.runs.iter().map(read).collect::<Result<_>>()?,
            split_folder: Some(file.split_folder),
        })
    }

    /// The folder of a run.
    pub fn run_dir(&self, run: &PlannedRun) -> RunDir {
        RunDir::new(self.home.join(&run.name))
    }

    /// The log of a run, beside the folders of the runs.
    pub fn log(&self, run: &PlannedRun) -> PathBuf {
        self.home.join("logs").join(format!("{}.log", run.name))
    }

    /// Takes the sweep's folder for this process alone.
    pub fn lock(&self) -> Result<RunLock> {
        RunDir::new(&self.home)
            .lock(std::time::Duration::ZERO)
            .map_err(|e| match e {
                Error::Input(input) => Error::at(input.at, "another process is running this sweep")
                    .hint("`dbloss sweep status` shows how far it is"),
                other => other,
            })
    }

    /// Checks every folder, builds the split if it is not there yet, and writes the configuration
    /// of every run. A run of another configuration in the way is an error, unless `force` says
    /// that it may be replaced.
    pub fn prepare(&mut self, file: &Path, force: bool) -> Result<Split> {
        for run in &self.runs {
            job::check_folder(&self.run_dir(run), Existing::ResumeOrStart)?;
        }
        let (split, folder) = job::open_split(&self.runs[0].experiment, &self.home.join("split"))?;
        let strangers = self.strangers(&split)?;
        if let Some(first) = strangers.first()
            && !force
        {
            let problem = format!(
                "holds a run with another configuration or split (and so do {} more)",
                strangers.len() - 1
            );
            return Err(Error::file(&self.home.join(first), problem).hint(
                "give the sweep another `name` or `--out`, or replace such runs with `--force`",
            ));
        }
        for run in &self.runs {
            let path = self.home.join("configs").join(format!("{}.toml", run.name));
            let text = run.experiment.to_toml()?;
            if fs_err::read_to_string(&path).ok().as_ref() != Some(&text) {
                write_text(&path, &text)?;
            }
        }
        let folder = std::path::absolute(folder)?;
        let plan = PlanFile {
            name: self.name.clone(),
            file: std::path::absolute(file)?,
            split_folder: folder.clone(),
            runs: self.runs.iter().map(|run| run.name.clone()).collect(),
        };
        let path = self.home.join("sweep.json");
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        write_text(&path, &(text + "\n"))?;
        fs_err::create_dir_all(self.home.join("logs"))?;
        self.split_folder = Some(folder);
        Ok(split)
    }

    /// Names of the runs whose folders hold another run.
    fn strangers(&self, split: &Split) -> Result<Vec<&str>> {
        let mut strangers = Vec::new();
        for run in &self.runs {
            let path = self.run_dir(run).manifest();
            if path.is_file() {
                let manifest = Manifest::read(&path)?;
                if manifest.config_hash != run.hash || manifest.split_hash != split.hash {
                    strangers.push(run.name.as_str());
                }
            }
        }
        Ok(strangers)
    }

    /// Where the split lies, after [`Plan::prepare`] or [`Plan::open`].
    pub fn split_folder(&self) -> Result<&Path> {
        let missing = || Error::file(&self.home, "the sweep has no split yet");
        self.split_folder.as_deref().ok_or_else(missing)
    }

    /// The split that all runs share.
    pub fn split(&self) -> Result<Split> {
        Split::read(self.split_folder()?)
    }

    /// The run of that name.
    pub fn find(&self, name: &str) -> Result<&PlannedRun> {
        let found = self.runs.iter().find(|run| run.name == name);
        found.ok_or_else(|| Error::file(&self.home, format_args!("has no run `{name}`")))
    }
}

impl PlannedRun {
    fn new(experiment: Experiment) -> Result<Self> {
        Ok(PlannedRun {
            name: experiment.run_name(),
            hash: experiment.hash()?,
            experiment,
        })
    }

    /// Steps of the whole training on `split`.
    pub fn total_steps(&self, split: &Split) -> usize {
        let Experiment { sampler, train, .. } = &self.experiment;
        sampler.epoch_length(&split.train) / train.batch_size * train.epochs
    }
}
