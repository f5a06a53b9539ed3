//! The table `[slurm]` of a sweep file.

use serde::{Deserialize, Serialize};

use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// `[slurm]`: what one run asks of Slurm. Whatever is left out is the cluster's default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    /// Time limit of a task, as `sbatch --time` takes it: `02:00:00`, `1-12`, minutes. A run that
    /// needs longer is queued again and continues.
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
    /// Tasks at a time; if left out, as many as fit.
    pub max_running: Option<usize>,
    /// Seconds before the time limit at which a run saves and is queued again, 120.
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
    /// Checks for values that would change the meaning of the script; `at` is the key of this
    /// table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        let words = [
            ("time", &self.time),
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("constraint", &self.constraint),
            ("memory", &self.memory),
            ("gpu_kind", &self.gpu_kind),
        ];
        let words =
            (words.into_iter()).filter_map(|(key, word)| Some((at.join(key), word.as_ref()?)));
        let options = (self.options.iter().enumerate())
            .map(|(i, option)| (at.join("options").item(i), option));
        for (key, word) in words.chain(options) {
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '#') {
                let problem = format!("is `{word}`, expected a text without blanks and `#`");
                return Err(Error::key(key, problem));
            }
        }
        let digits = |c: char| c.is_ascii_digit() || c == ':' || c == '-';
        if let Some(time) = &self.time
            && (!time.starts_with(|c: char| c.is_ascii_digit()) || !time.chars().all(digits))
        {
            let problem = format!("is `{time}`, expected a time such as `02:00:00` or `1-12`");
            return Err(Error::key(at.join("time"), problem));
        }
        for (i, option) in self.options.iter().enumerate() {
            if !option.starts_with('-') {
                let problem =
                    format!("is `{option}`, expected an option of sbatch: `--exclude=n7`");
                return Err(Error::key(at.join("options").item(i), problem));
            }
        }
        Range::AtLeast(1).check_whole(&at.join("cpus"), self.cpus)?;
        match self.max_running {
            Some(tasks) => Range::AtLeast(1).check_whole(&at.join("max_running"), tasks),
            None => Ok(()),
        }
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
            assert!(config.check(&KeyPath::from("slurm")).is_err(), "{text}");
        }
        let good = "time = '1-12:00'\nmemory = '8G'\noptions = ['--exclude=n[1-3]']";
        let config: SlurmConfig = toml::from_str(good).unwrap();
        config.check(&KeyPath::from("slurm")).unwrap();
    }
}
