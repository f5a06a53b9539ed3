//! The device that holds the tensors, and the number of threads of the engine.

use candle_core::Device;

use crate::error::{Error, Result};
use crate::wording::counted;

/// Parses `auto`, `cpu`, `cuda` or `cuda:N`. `auto` is the first GPU if this build and this machine
/// have one, otherwise the CPU.
pub fn parse(name: &str) -> Result<Device> {
    let cuda = |index: usize| {
        Device::new_cuda(index).map_err(|e| {
            let hint = if candle_core::utils::cuda_is_available() {
                "check that a GPU of that number exists; `--device cpu` works everywhere"
            } else {
                "this build has no GPU support: `cargo build --release --features cudnn`, \
                 docs/gpu.md"
            };
            let reason = e.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            Error::argument(
                "--device",
                format_args!("`{name}` cannot be opened: {reason}"),
            )
            .hint(hint)
        })
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::cuda_if_available(0).unwrap_or(Device::Cpu)),
        "cuda" => cuda(0),
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
            Some(index) => cuda(index),
            None => Err(Error::argument(
                "--device",
                format_args!("`{name}` is not a device, expected auto, cpu, cuda or cuda:N"),
            )),
        },
    }
}

/// Returns the device's name, in the form that [`parse`] reads.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Returns the processor's name, with the instruction set in use.
pub fn processor(instruction_set: &str) -> String {
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{name} ({instruction_set})")
}

/// Returns the number of cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns how many threads to use if `asked` are requested; 0 means all cores.
///
/// Up to twice the number of cores is accepted, since the system does not always report correctly
/// what a process may use. A larger number is surely a mistake and would slow everything down: it
/// is reduced to the number of cores, with a warning.
pub fn usable_threads(asked: usize) -> usize {
    let cores = cores();
    match asked {
        0 => cores,
        _ if asked <= 2 * cores => asked,
        _ => {
            tracing::warn!(
                "--threads {asked}: this machine has {}, so {cores} are used",
                counted(cores, "core")
            );
            cores
        }
    }
}

/// Sets the number of threads of the engine, see [`usable_threads`]. Works only once per process.
pub fn set_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(usable_threads(threads))
        .build_global()
        .map_err(|e| Error::argument("--threads", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_strangers_refused() {
        assert!(parse("cpu").unwrap().is_cpu());
        assert!(parse("auto").is_ok());
        for bad in ["gpu", "cuda:x", "cuda:", ""] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn no_more_threads_than_make_sense() {
        let cores = cores();
        let taken = [0, 1, cores + 1, 1000 * cores].map(usable_threads);
        assert_eq!(taken, [cores, 1, cores + 1, cores]);
    }
}
