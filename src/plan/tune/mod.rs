//! Tuning: the same budget for every method, settings chosen on folds of the training subset, and
//! one evaluation on the test set at the end.
//!
//! A trial trains on a fold's split, whose test set is a part of the training subset: no trial,
//! score or choice has access to the test images, since the folder it works in does not name them.
//! The final runs begin once the choice has been written down, and from then on the folder rejects
//! any other choice.

mod apart;
mod candidates;
mod finals;
mod held_out;
mod outcome;
mod stages;
mod starts;
mod trials;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Experiment, ExperimentSources};
use crate::data::picture_hashes::PictureHashes;
use crate::data::split::Split;
use crate::error::{Error, KeyPath, Result};
use crate::io::absolute;
use crate::job::{self, Room};
use crate::layers::{Assignment, Origin};
use crate::plan::executor::failure::verdict;
use crate::plan::folder::{Plan, PlannedRun, Replace};
use crate::plan::grid::Point;
use crate::plan::sweep_file::SweepFile;
pub use crate::plan::tune_config::{Strategy, TuneConfig};
use crate::plan::{Executor, Outcome};
use crate::progress::human_seconds;
use crate::run_dir::{Manifest, RunDir};
use crate::wording::counted;

use candidates::Candidates;
use trials::Trial;

pub use apart::SetRow;
pub use held_out::held_out;
pub use outcome::{ChosenRow, FinalRow, SettingRow};
pub use trials::TrialRow;

/// A search for the settings of each method, and the final runs with them.
pub struct Tuning {
    sweep: SweepFile,
    config: TuneConfig,
    sources: ExperimentSources,
    /// The assignments for every run.
    shared: Vec<Assignment>,
    candidates: Vec<Candidates>,
    /// The tuning's folder, `<out>/<name>`.
    home: PathBuf,
}

/// How the trainings are run, and where their batches are held.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The executor.
    pub executor: &'a dyn Executor,
    /// Where the batches are held.
    pub room: Room,
}

/// The result of a search.
pub struct Search {
    /// All trials.
    trials: Vec<Trial>,
    /// The subset that was searched on.
    subset: Split,
    /// The pictures of the subset's sets and folds.
    sets: Vec<SetRow>,
    /// The hashes of picture files read so far.
    hashes: PictureHashes,
    /// The folds.
    folds: Vec<Split>,
    /// Time that this call spent on it, in seconds.
    pub seconds: f64,
}

impl Tuning {
    /// Makes the tuning that `sweep` describes, under `out`; `overrides` are `key=value`
    /// assignments applied after the file's `[set]`. Nothing is written.
    ///
    /// # Errors
    /// Fails if a run's configuration is wrong, or if the methods do not get the same number of
    /// trials.
    pub fn new(sweep: SweepFile, out: &Path, overrides: &[String]) -> Result<Self> {
        let config = sweep.config.tune.clone().unwrap_or_default();
        let shared = sweep.shared(overrides)?;
        let sources = sweep.sources()?;
        let methods = sweep.methods(&sources.with(&shared)?);
        let candidates = candidates::of(&sweep, &config, &methods, &shared)?;
        starts::check(&sweep, &config, &methods)?;
        let tuning = Tuning {
            home: out.join(&sweep.name),
            sweep,
            config,
            sources,
            shared,
            candidates,
        };
        for candidates in &tuning.candidates {
            for point in &candidates.points {
                tuning.experiment(&candidates.method, point, &[])?;
            }
        }
        Ok(tuning)
    }

    /// Returns the tuning's folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Describes in words what will be done.
    pub fn summary(&self) -> String {
        let folds = self.config.all_folds();
        let settings = self.candidates[0].points.len();
        let trainings: usize = (0..folds)
            .map(|fold| self.config.settings_on_fold(settings, fold))
            .sum();
        let methods = self.candidates.len();
        format!(
            "{}, {}; {} in all",
            counted(methods, "method"),
            self.config.strategy.words(settings, folds),
            counted(methods * trainings, "training"),
        )
    }

    /// Locks the folder for this process.
    ///
    /// # Errors
    /// Fails if another process holds it.
    pub fn lock(&self) -> Result<crate::run_dir::RunLock> {
        RunDir::new(&self.home).lock(Duration::ZERO)
    }

    /// Returns the experiment of a method with the settings of `point` and then `more`, without
    /// overriding the seed.
    fn experiment(&self, method: &str, point: &Point, more: &[Assignment]) -> Result<Experiment> {
        let mut assignments = [point.on(&self.shared), more.to_vec()].concat();
        assignments.extend(self.placeholder(method));
        let file = self.sources.with(&assignments)?;
        file.resolve(Some(method), None)
    }

    /// Returns the subset with index `index` that final runs train on, and its folder.
    fn subset(&self, index: usize) -> Result<(Split, PathBuf)> {
        let more = self.subset_assignment(index);
        let first = &self.candidates[0];
        let experiment = self.experiment(&first.method, &first.points[0], &more)?;
        let folder = self.subset_home(index).join(RunDir::SPLIT);
        let (split, folder) = job::open_split(&experiment, &folder)?;
        if split.test.is_empty() {
            return Err(Error::file(
                &folder,
                "has no test set to be scored on at the end",
            ));
        }
        Ok((split, absolute(Path::new(""), &folder)))
    }

    /// Returns the assignments that make the subset with index `index`.
    fn subset_assignment(&self, index: usize) -> Vec<Assignment> {
        let seed = self.config.subsets.get(index);
        let assignment = |&seed: &u64| Assignment {
            key: KeyPath::from("split.seed"),
            value: toml::Value::Integer(seed as i64),
            origin: Origin::file(&self.sweep.path),
        };
        seed.map(assignment).into_iter().collect()
    }

    /// Returns the folder of a subset and its final runs.
    fn subset_home(&self, index: usize) -> PathBuf {
        let name = match self.config.subsets.get(index) {
            Some(seed) => format!("subset-{seed}"),
            None => "subset".to_owned(),
        };
        self.home.join("final").join(name)
    }

    /// Runs the search, or continues it: existing trials are kept.
    ///
    /// # Errors
    /// Fails if trials failed for a reason other than divergence, if the test set shares pictures
    /// with the training subset, or if a signal arrived.
    pub fn search(&self, means: Means) -> Result<Search> {
        let start = Instant::now();
        let (subset, _) = self.subset(0)?;
        tracing::info!("{}", subset.summary());
        let mut hashes = PictureHashes::default();
        let mut sets = apart::check(&subset, &self.subset_name(0), &mut hashes)?;
        let mut folds = Vec::new();
        // Copies of a picture stay together, so that none is held out while another is trained on.
        let together = apart::together(&subset.train_root, &subset.train, &mut hashes)?;
        for repeat in 0..self.config.repeats {
            let seed = self.config.seed + repeat as u64;
            folds.extend(subset.folds(self.config.folds, seed, &together)?);
        }
        for (number, fold) in folds.iter().enumerate() {
            fold.read_or_write(&self.fold_home(number))?;
            let name = format!("fold {}", number + 1);
            sets.extend(apart::check(fold, &name, &mut hashes)?);
        }
        let mut trials: Vec<Trial> = Vec::new();
        for stage in self.stages() {
            for number in 0..folds.len() {
                let found = self.fold(number, &stage, &trials, means, start)?;
                trials.extend(found);
            }
        }
        Ok(Search {
            trials,
            subset,
            sets,
            hashes,
            folds,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn subset_name(&self, index: usize) -> String {
        match self.config.subsets.get(index) {
            Some(seed) => format!("subset {seed}"),
            None => "subset".to_owned(),
        }
    }

    /// Returns the folder of the fold with this number, counted from 0.
    fn fold_home(&self, number: usize) -> PathBuf {
        self.home.join("folds").join(format!("fold-{}", number + 1))
    }

    /// Returns the trials `runs` of the fold with this number as a plan.
    fn trials_of(&self, number: usize, runs: Vec<Experiment>) -> Result<Plan> {
        let name = format!("fold-{}", number + 1);
        Plan::of_runs(&name, self.home.join("trials").join(&name), runs)
    }

    /// Returns the trial of a setting on the fold with this number; a second stage starts from one
    /// of `before`.
    fn trial(
        &self,
        method: &str,
        point: &Point,
        number: usize,
        before: &[Trial],
    ) -> Result<Experiment> {
        let mut run = self.experiment(method, point, &[])?;
        run.split = None;
        run.split_folder = Some(absolute(Path::new(""), &self.fold_home(number)));
        run.seed = self.config.seed;
        self.begin_trial(&mut run, method, number, before)?;
        run.method.push_str(&point.label);
        Ok(run)
    }

    /// Runs the trials of one fold, for the settings of a stage that are still in the search after
    /// `before`.
    fn fold(
        &self,
        number: usize,
        stage: &[&Candidates],
        before: &[Trial],
        means: Means,
        start: Instant,
    ) -> Result<Vec<Trial>> {
        let mut wanted: Vec<(&str, &Point)> = Vec::new();
        for candidates in stage {
            let count = (self.config).settings_on_fold(candidates.points.len(), number);
            let ranked = trials::ranked(candidates, before).into_iter();
            wanted
                .extend((ranked.take(count)).map(|(point, _)| (candidates.method.as_str(), point)));
        }
        let runs = (wanted.iter())
            .map(|(method, point)| self.trial(method, point, number, before))
            .collect::<Result<_>>()?;
        let mut plan = self.trials_of(number, runs)?;
        let all = plan.runs.clone();
        tracing::info!(
            "fold {} of {}: {} ({} in all)",
            number + 1,
            self.config.all_folds(),
            counted(all.len(), "training"),
            human_seconds(start.elapsed().as_secs_f64())
        );
        let split = self.run_all(&mut plan, means, |manifest| manifest.diverged)?;
        (all.iter().zip(&wanted))
            .map(|(run, (method, point))| {
                let trial = trials::read(&plan, (run, method, &point.label), number, &split)?;
                trial.ok_or_else(|| {
                    Error::unfinished(format!(
                        "{}: {} is not finished",
                        plan.home.display(),
                        run.name
                    ))
                    .hint("the same command continues with it")
                })
            })
            .collect()
    }

    /// Runs the unfinished runs of `plan`; runs whose manifest is `settled` are left as they are.
    ///
    /// # Errors
    /// Fails if runs failed and are not settled.
    fn run_all(
        &self,
        plan: &mut Plan,
        means: Means,
        settled: impl Fn(&Manifest) -> bool,
    ) -> Result<Split> {
        let is_settled = |plan: &Plan, run: &PlannedRun| {
            let folder = plan.run_dir(run);
            Manifest::read(&folder.manifest())
                .is_ok_and(|manifest| settled(&manifest) && run.is_recorded(&folder, &manifest))
        };
        let _lock = plan.lock(Duration::ZERO)?;
        let mut rest = plan.clone();
        rest.runs.retain(|run| !is_settled(plan, run));
        if rest.runs.is_empty() {
            return plan.prepare(&self.sweep.path, Replace::Nothing);
        }
        let split = rest.prepare(&self.sweep.path, Replace::Nothing)?;
        super::check(&rest, &split, false, means.room)?;
        let failures = match means.executor.execute(&rest, &split)? {
            Outcome::Ended(failures) => failures,
            Outcome::Submitted(_) => Vec::new(),
        };
        let mut missing = Vec::new();
        for run in &rest.runs {
            let finished =
                super::RunState::read(plan, run, &split)?.state == super::State::Finished;
            if !finished && !is_settled(plan, run) {
                missing.push(run.name.clone());
            }
        }
        let failures = (failures.into_iter())
            .filter(|failure| missing.contains(&failure.run))
            .collect();
        verdict(plan, failures, &missing)?;
        Ok(split)
    }
}
