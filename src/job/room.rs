//! Checks whether there is enough memory for the concurrent runs.

use candle_core::Device;

use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::memory;

/// Where the checked runs will hold their batches, and how many runs are concurrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// In the memory of this machine.
    Here {
        /// Number of concurrent runs, at least 1.
        runs: usize,
    },
    /// In the memory of a GPU.
    Gpu {
        /// Number of concurrent runs, at least 1.
        runs: usize,
    },
    /// On other machines, about which nothing is known.
    Elsewhere,
}

impl Room {
    /// Returns the room of a device for `runs` concurrent runs.
    pub fn of(device: &Device, runs: usize) -> Self {
        match device {
            Device::Cpu => Room::Here { runs },
            _ => Room::Gpu { runs },
        }
    }

    /// Returns the room if no device has been chosen yet: with a GPU in this machine it may be
    /// either.
    pub fn of_any_device(runs: usize) -> Self {
        match candle_core::utils::cuda_is_available() {
            true => Room::Elsewhere,
            false => Room::Here { runs },
        }
    }
}

/// The memory needed by a training step.
#[derive(Debug)]
pub(super) struct Step {
    pub bytes: u64,
    /// The same in words, with the batch and the network.
    pub words: String,
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Returns the memory needed by a training step, as estimated for the CPU engine.
pub(super) fn step(experiment: &Experiment) -> Step {
    let (batch, side) = (experiment.train.batch_size, experiment.input.size as usize);
    let backbone = experiment.model.backbone_config();
    let bytes = backbone.training_bytes(batch, side);
    Step {
        bytes,
        words: format!(
            "{batch} images of {side} pixels take about {} in a training step of `{}`",
            gigabytes(bytes),
            experiment.model.backbone
        ),
    }
}

/// Returns the memory needed by a training step, unless the machine could never hold it.
pub(super) fn check_memory(experiment: &Experiment) -> Result<Step> {
    let batch = experiment.train.batch_size;
    let step = step(experiment);
    let (need, size) = (step.bytes, &step.words);
    if let Some(limit) = memory::limit()
        && need > limit
    {
        let problem = format!("{size}, but this machine has {}", gigabytes(limit));
        let fits = batch as u64 * limit / need / 2;
        return Err(Error::key("train.batch_size", problem).hint(format_args!(
            "a batch of {} would fit; memory grows with the square of `input.size`",
            fits.max(2)
        )));
    }
    Ok(step)
}

/// Rejects more concurrent runs than the machine could ever hold, counting the largest ones;
/// returns a sentence about runs that do not fit at present. `limit` and `available` are in bytes,
/// where known; each step alone is within the limit.
pub(super) fn check_together(
    mut steps: Vec<Step>,
    runs: usize,
    limit: Option<u64>,
    available: Option<u64>,
) -> Result<Option<String>> {
    steps.sort_by_key(|step| std::cmp::Reverse(step.bytes));
    steps.truncate(runs);
    let Some(largest) = steps.first() else {
        return Ok(None);
    };
    let need: u64 = steps.iter().map(|step| step.bytes).sum();
    let size = match steps.len() {
        1 => largest.words.clone(),
        runs => format!(
            "{runs} runs at a time take about {} in their training steps ({})",
            gigabytes(need),
            largest.words
        ),
    };
    if let Some(limit) = limit
        && need > limit
        && steps.len() > 1
    {
        let mut sum = 0;
        let fits = (steps.iter()).take_while(|step| {
            sum += step.bytes;
            sum <= limit
        });
        let fits = fits.count().max(1);
        let problem = format!("{size}, but this machine has {}", gigabytes(limit));
        return Err(Error::argument("--jobs", problem).hint(format_args!(
            "give `--jobs {fits}`, or a smaller `train.batch_size`"
        )));
    }
    let available = available.filter(|available| need > *available);
    Ok(available.map(|free| format!("{size}, but only {} are free now", gigabytes(free))))
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::experiment;
    use super::*;

    #[test]
    fn a_batch_beyond_the_machine_is_refused_with_the_estimate() {
        let error = check_memory(&experiment("train.batch_size = 1000000")).unwrap_err();
        let Error::Input(error) = error else {
            panic!("not an input error: {error}")
        };
        assert!(error.to_string().contains("train.batch_size"), "{error}");
        assert!(error.problem.contains("GB"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("a batch of")));
        check_memory(&experiment("train.batch_size = 8")).unwrap();
    }

    #[test]
    fn what_runs_at_once_is_counted_together() {
        let check = |sizes: &[u64], runs: usize, limit: u64, available: u64| {
            let of_size = |&bytes: &u64| Step {
                bytes: bytes << 30,
                words: format!("a batch of {bytes}"),
            };
            let steps = sizes.iter().map(of_size).collect();
            check_together(steps, runs, Some(limit << 30), Some(available << 30))
        };
        assert_eq!(check(&[3, 5, 4], 1, 16, 8).unwrap(), None);
        assert_eq!(check(&[3, 5, 4], 2, 16, 10).unwrap(), None);
        let told = check(&[3, 5, 4], 2, 16, 8).unwrap().unwrap();
        for part in [
            "2 runs at a time",
            "9.7 GB",
            "a batch of 5",
            "8.6 GB are free",
        ] {
            assert!(told.contains(part), "{told}");
        }
        // The two largest need 9 of 8; what the third needs does not matter.
        let error = check(&[3, 5, 4], 2, 8, 8).unwrap_err();
        assert!(error.to_string().contains("--jobs"), "{error}");
        assert!(error.remedy().unwrap().contains("`--jobs 1`"));
        let error = check(&[2, 2, 2, 2, 9], 5, 14, 14).unwrap_err();
        assert!(
            error.remedy().unwrap().contains("`--jobs 3`"),
            "9 + 2 + 2 of 14"
        );
        // With more jobs than runs, only the runs count.
        assert_eq!(check(&[3, 5], 100, 16, 10).unwrap(), None);
        assert_eq!(check(&[], 2, 16, 10).unwrap(), None);
    }
}
