//! The folder of a plan: its runs, resolved, and the split they share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sweep_file::SweepFile;
use crate::config::{Experiment, ExperimentFile, is_recorded};
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::io::write_text;
use crate::job;
use crate::run_dir::{Existing, Manifest, RunDir, RunLock, Status};

/// One run of a plan.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// `<method>-s<seed>`, with the grid point after the method.
    pub name: String,
    /// The run's experiment.
    pub experiment: Experiment,
    /// Hash of the configuration, which identifies a finished run.
    pub hash: String,
}

/// The runs of an experiment or a sweep and their folder: `<out>/<name>/`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of the experiment or the sweep.
    pub name: String,
    /// The plan's folder.
    pub home: PathBuf,
    /// The runs, in the order of the tables. A run's index is its task number in a job array.
    pub runs: Vec<PlannedRun>,
    /// Runs that were not requested this time, but finished earlier in the same folder with the
    /// settings they would have now: they belong in the comparison too.
    pub earlier: Vec<PlannedRun>,
    /// The sets that each run is evaluated on.
    pub sets: Vec<Set>,
    /// The folder of the split, once it is known.
    split_folder: Option<PathBuf>,
}

/// Which existing runs may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// None: finished runs are kept, others are resumed, a run with another configuration is an
    /// error.
    Nothing,
    /// Runs with another configuration are replaced.
    Others,
    /// Every run is trained again from the start.
    Everything,
}

/// `plan.json`: what a process that runs one of the runs, or a later command, needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct PlanFile {
    name: String,
    file: PathBuf,
    split_folder: PathBuf,
    runs: Vec<String>,
    #[serde(default = "test_alone")]
    sets: Vec<Set>,
}

fn test_alone() -> Vec<Set> {
    vec![Set::Test]
}

impl PlanFile {
    const NAME: &str = "plan.json";
    /// The file's name in version 0.1.
    const EARLIER_NAME: &str = "sweep.json";

    fn read(home: &Path) -> Result<Self> {
        let names = [Self::NAME, Self::EARLIER_NAME];
        let paths = names.map(|name| home.join(name));
        let Some(path) = paths.iter().find(|path| path.is_file()) else {
            let problem = format!("contains no plan of runs: there is no `{}`", Self::NAME);
            return Err(Error::file(home, problem).hint(
                "`dbloss run` and `dbloss sweep` create one; pass the file with the same `--out` as there",
            ));
        };
        let text = fs_err::read_to_string(path)?;
        let file: Self = serde_json::from_str(&text)
            .map_err(|e| Error::file(path, format_args!("is not a plan: {e}")))?;
        // No way out of the folder.
        let is_name = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
        match file.runs.iter().find(|name| !is_name(name)) {
            Some(run) => Err(Error::file(
                path,
                format_args!("names the run `{run}`, expected the name of a folder beside it"),
            )),
            None => Ok(file),
        }
    }
}

impl Plan {
    /// Makes the plan of a sweep file. Nothing is written.
    pub fn of_sweep(file: &SweepFile, out: &Path, overrides: &[String]) -> Result<Self> {
        Self::of_runs(
            &file.name,
            out.join(&file.name),
            file.experiments(overrides)?,
        )
    }

    /// Makes the plan of an experiment file, with the given `methods` and `seeds` or those of the
    /// file. Nothing is written.
    pub fn of_experiment(
        file: &ExperimentFile,
        out: &Path,
        methods: &[String],
        seeds: &[u64],
    ) -> Result<Self> {
        let runs = file.resolve_all(methods, seeds)?;
        let name = runs.first().map_or(String::new(), |run| run.name.clone());
        Self::of_runs(&name, out.join(&name), runs)
    }

    /// Makes the plan of the given runs, in the folder `home`.
    pub(super) fn of_runs(name: &str, home: PathBuf, runs: Vec<Experiment>) -> Result<Self> {
        let planned = runs.into_iter().map(PlannedRun::new);
        Ok(Plan {
            name: name.to_owned(),
            home,
            runs: planned.collect::<Result<_>>()?,
            earlier: Vec::new(),
            sets: test_alone(),
            split_folder: None,
        })
    }

    /// Opens the plan in a folder, as it was prepared.
    pub fn open(home: &Path) -> Result<Self> {
        let file = PlanFile::read(home)?;
        let read = |name: &String| PlannedRun::read(home, name);
        Ok(Plan {
            runs: file.runs.iter().map(read).collect::<Result<_>>()?,
            ..Self::without_runs(home, file)
        })
    }

    /// Opens the plan in a folder with only one of its runs, for the process that runs it.
    pub fn open_run(home: &Path, run: &str) -> Result<Self> {
        let run = PlannedRun::read(home, run)?;
        Ok(Plan {
            runs: vec![run],
            ..Self::without_runs(home, PlanFile::read(home)?)
        })
    }

    /// Like [`Plan::open_run`], for the run with the given index.
    pub fn open_index(home: &Path, index: usize) -> Result<Self> {
        let file = PlanFile::read(home)?;
        match file.runs.get(index) {
            Some(name) => Self::open_run(home, name),
            None => Err(Error::file(home, format_args!("has no run number {index}"))),
        }
    }

    fn without_runs(home: &Path, file: PlanFile) -> Self {
        Plan {
            name: file.name,
            home: home.to_owned(),
            runs: Vec::new(),
            earlier: Vec::new(),
            sets: file.sets,
            split_folder: Some(file.split_folder),
        }
    }

    /// Returns the folder of a run.
    pub fn run_dir(&self, run: &PlannedRun) -> RunDir {
        RunDir::new(self.home.join(&run.name))
    }

    /// Returns the folder of the logs, beside those of the runs; it exists if runs are separate
    /// processes.
    pub fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// Returns the path of a run's log.
    pub fn log(&self, run: &PlannedRun) -> PathBuf {
        self.logs().join(format!("{}.log", run.name))
    }

    /// Returns the split if it already exists.
    pub fn existing_split(&self) -> Result<Option<Split>> {
        let given = self
            .runs
            .first()
            .and_then(|run| run.experiment.split_folder.clone());
        let folder = (self.split_folder.clone().or(given)).unwrap_or_else(|| self.own_split());
        match Split::is_in(&folder) {
            true => Split::read(&folder).map(Some),
            false => Ok(None),
        }
    }

    /// Returns the folder of the split, after [`Plan::prepare`] or [`Plan::open`].
    pub fn split_folder(&self) -> Result<&Path> {
        let missing = || Error::file(&self.home, "has no split yet");
        self.split_folder.as_deref().ok_or_else(missing)
    }

    /// Reads the split that all runs share.
    pub fn split(&self) -> Result<Split> {
        Split::read(self.split_folder()?)
    }

    fn own_split(&self) -> PathBuf {
        self.home.join(RunDir::SPLIT)
    }

    /// Returns the run with the given name.
    pub fn find(&self, name: &str) -> Option<&PlannedRun> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// Locks the plan's folder for this process; waits up to `patience` for another process.
    pub fn lock(&self, patience: Duration) -> Result<RunLock> {
        RunDir::new(&self.home)
            .lock(patience)
            .map_err(|error| match error {
                Error::Input(input) => {
                    Error::at(input.at, "another process is working on these runs").hint(
                        format_args!(
                            "`dbloss sweep status {}` shows its progress",
                            self.home.display()
                        ),
                    )
                }
                other => other,
            })
    }

    /// Checks every folder, builds the split if it does not exist yet, and writes the configuration
    /// of every run. `file` is the file that the plan was made from.
    ///
    /// # Errors
    /// Fails if something other than a run is in the way, or a run with another configuration that
    /// `replace` does not allow to be replaced.
    pub fn prepare(&mut self, file: &Path, replace: Replace) -> Result<Split> {
        for run in &self.runs {
            self.run_dir(run).check(Existing::ResumeOrStart)?;
        }
        let (split, folder) = job::open_split(&self.runs[0].experiment, &self.own_split())?;
        if replace == Replace::Nothing {
            self.refuse_others(&split)?;
        }
        let folder = std::path::absolute(folder)?;
        self.split_folder = Some(folder);
        self.write(file)?;
        Ok(split)
    }

    /// Adds the runs of the same experiment file that an earlier call finished in the same folder.
    pub fn add_earlier(&mut self, file: &ExperimentFile, split: &Split) -> Result<()> {
        let mut folders: Vec<PathBuf> = Vec::new();
        if self.home.is_dir() {
            for folder in fs_err::read_dir(&self.home)? {
                folders.push(folder?.path());
            }
        }
        folders.sort();
        for folder in folders {
            let Ok(manifest) = Manifest::read(&RunDir::new(&folder).manifest()) else {
                continue;
            };
            if manifest.status != Status::Finished || manifest.split_hash != split.hash {
                continue;
            }
            let method = Some(manifest.method.as_str()).filter(|_| !file.methods().is_empty());
            let Ok(experiment) = file.resolve(method, Some(manifest.seed)) else {
                continue;
            };
            let run = PlannedRun::new(experiment)?;
            let here = folder == self.run_dir(&run).path();
            if here
                && run.is_recorded(&RunDir::new(&folder), &manifest)
                && self.find(&run.name).is_none()
            {
                self.earlier.push(run);
            }
        }
        Ok(())
    }

    fn write(&self, file: &Path) -> Result<()> {
        for run in &self.runs {
            let path = config_of(&self.home, &run.name);
            let text = run.experiment.to_toml()?;
            if fs_err::read_to_string(&path).ok().as_ref() != Some(&text) {
                write_text(&path, &text)?;
            }
        }
        let plan = PlanFile {
            name: self.name.clone(),
            file: std::path::absolute(file)?,
            split_folder: self.split_folder()?.to_owned(),
            runs: self.runs.iter().map(|run| run.name.clone()).collect(),
            sets: self.sets.clone(),
        };
        let path = self.home.join(PlanFile::NAME);
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        write_text(&path, &(text + "\n"))
    }

    /// Rejects runs whose folders contain a different run.
    fn refuse_others(&self, split: &Split) -> Result<()> {
        let mut others = Vec::new();
        for run in &self.runs {
            let folder = self.run_dir(run);
            if folder.manifest().is_file() {
                let manifest = Manifest::read(&folder.manifest())?;
                if !run.is_recorded(&folder, &manifest) || manifest.split_hash != split.hash {
                    others.push(folder);
                }
            }
        }
        let Some(first) = others.first() else {
            return Ok(());
        };
        let more = match others.len() - 1 {
            0 => String::new(),
            1 => " (and so does 1 more)".to_owned(),
            n => format!(" (and so do {n} more)"),
        };
        let problem = format!("contains a run with another configuration or split{more}");
        Err(Error::file(first.path(), problem).hint(
            "choose another folder with `--out` or another `name`, or pass `--force` to replace such runs",
        ))
    }
}

/// Returns the path of a run's configuration in a plan.
fn config_of(home: &Path, run: &str) -> PathBuf {
    home.join("configs").join(format!("{run}.toml"))
}

impl PlannedRun {
    fn new(experiment: Experiment) -> Result<Self> {
        Ok(PlannedRun {
            name: experiment.run_name(),
            hash: experiment.hash()?,
            experiment,
        })
    }

    /// Returns whether the run in `folder`, with this manifest, was made from the same
    /// configuration.
    pub(super) fn is_recorded(&self, folder: &RunDir, manifest: &Manifest) -> bool {
        is_recorded(&manifest.config_hash, &folder.config(), &self.hash)
    }

    fn read(home: &Path, name: &str) -> Result<Self> {
        let config = config_of(home, name);
        if !config.is_file() {
            return Err(Error::file(home, format_args!("has no run `{name}`")));
        }
        Self::new(Experiment::read(&config)?)
    }

    /// Returns the number of steps of the whole training on `split`; 0 if an epoch has no full
    /// batch.
    pub fn total_steps(&self, split: &Split) -> usize {
        let Experiment { sampler, train, .. } = &self.experiment;
        let steps = train.steps_per_epoch(sampler, &split.train);
        steps.unwrap_or(0) * train.epochs
    }
}
