//! `[slurm]` of a sweep file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `[slurm]`: what one run asks of Slurm. Whatever is left out is the cluster's default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    /// Time limit of a task, as `sbatch --time` takes it: `02:00:00`, `1-12`, minutes. A run that
    /// needs longer is put back into the queue and goes on.
    pub time: Option<String>,
    /// Partition.
    pub partition: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Features that the node must have.
    pub constraint: Option<String>,
    /// Memory of a task: `8G`, or megabytes.
    pub memory: Option<String>,
    /// Processor cores of a task, 1; the engine takes as many threads.
    pub cpus: usize,
    /// GPUs of a task, 0.
    pub gpus: usize,
    /// Kind of the GPUs, as in `--gres=gpu:KIND:N`.
    pub gpu_kind: Option<String>,
    /// Tasks at a time; all that fit without it.
    pub max_running: Option<usize>,
    /// Seconds before the time limit at which a run saves and is put back, 120.
    pub signal_seconds: u32,
    /// More options of `sbatch`, for example `--exclude=node7`.
    pub options: Vec<String>,
    /// Lines of shell before the run, for example `module load cuda`.
    pub setup: Vec<String>,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        SlurmConfig {
            time: None,
            partition: None,
            account: None,
            qos: None,
            constraint: None,
            memory: None,
            cpus: 1,
            gpus: 0,
            gpu_kind: None,
            max_running: None,
            signal_seconds: 120,
            options: Vec::new(),
            setup: Vec::new(),
        }
    }
}

impl SlurmConfig {
    /// Checks what would make a script that says something else than meant.
    pub fn check(&self, file: &Path) -> Result<()> {
        let wrong = |key: &str, problem: String| {
            Err(Error::file(
                file,
                format_args!("[slurm] `{key}`: {problem}"),
            ))
        };
        let time = self.time.iter().map(|value| ("time", value));
        let texts = time
            .chain(self.partition.iter().map(|value| ("partition", value)))
            .chain(self.account.iter().map(|value| ("account", value)))
            .chain(self.qos.iter().map(|value| ("qos", value)))
            .chain(self.constraint.iter().map(|value| ("constraint", value)))
            .chain(self.memory.iter().map(|value| ("memory", value)))
            .chain(self.gpu_kind.iter().map(|value| ("gpu_kind", value)))
            .chain(self.options.iter().map(|value| ("options", value)));
        for (key, value) in texts {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '#') {
                return wrong(key, format!("`{value}` is empty, or holds a blank or `#`"));
            }
        }
        let digits = |c: char| c.is_ascii_digit() || c == ':' || c == '-';
        if let Some(time) = &self.time
            && (!time.starts_with(|c: char| c.is_ascii_digit()) || !time.chars().all(digits))
        {
            let problem = format!("`{time}` is no time, expected for example `02:00:00` or `1-12`");
            return wrong("time", problem);
        }
        if let Some(option) = self.options.iter().find(|option| !option.starts_with('-')) {
            return wrong("options", format!("`{option}` is no option of sbatch"));
        }
        if self.cpus == 0 || self.max_running == Some(0) {
            return wrong("cpus", "and `max_running` are at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_bend_the_script_is_refused() {
        for text in [
            "partition = 'a b'",
            "memory = \"1G\\nrm\"",
            "options = ['exclude']",
            "cpus = 0",
            "time = 'soon'",
        ] {
            let config: SlurmConfig = toml::from_str(text).unwrap();
            assert!(config.check(Path::new("s.toml")).is_err(), "{text}");
        }
        let good = "time = '1-12:00'\nmemory = '8G'\noptions = ['--exclude=n[1-3]']";
        let config: SlurmConfig = toml::from_str(good).unwrap();
        config.check(Path::new("s.toml")).unwrap();
    }
}
