//! Running a plan.

use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Storage, Tensor};

use super::plan::Plan;

/// Runs plans for tensors of one kind of device.
pub trait Runner: Send + Sync {
    /// Runs `plan` on the tensors `given`, which are contiguous, and returns the tensors that it
    /// creates.
    ///
    /// # Errors
    /// If the device is out of memory, or a kernel cannot be launched.
    fn run(&self, plan: &Plan, given: &[Option<&Tensor>]) -> Result<Vec<Tensor>>;
}

static FOR_CPU: OnceLock<Box<dyn Runner>> = OnceLock::new();

/// Installs `runner` for plans on CPU tensors: for tests, which run the kernels on the host. Only
/// the first call has an effect; it is never called outside tests, since the CPU has kernels of its
/// own.
pub fn install(runner: Box<dyn Runner>) {
    let _ = FOR_CPU.set(runner);
}

/// Returns whether plans can be run for tensors of this device and type.
pub fn serves(device: &Device, dtype: DType) -> bool {
    let runs = match device {
        Device::Cpu => FOR_CPU.get().is_some(),
        Device::Cuda(_) => cfg!(feature = "cuda"),
        Device::Metal(_) => false,
    };
    runs && dtype == DType::F32
}

/// Runs a plan on the device of its first tensor.
pub(super) fn run(plan: &Plan, given: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let Some(first) = given.iter().flatten().next() else {
        candle_core::bail!("a plan without a tensor");
    };
    for tensor in given.iter().flatten() {
        if !tensor.is_contiguous() {
            candle_core::bail!(
                "a kernel takes contiguous tensors, not {:?}",
                tensor.layout()
            );
        }
    }
    match first.device() {
        Device::Cpu => match FOR_CPU.get() {
            Some(runner) => runner.run(plan, given),
            None => candle_core::bail!("no kernels of the device on this CPU"),
        },
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::device::run(device, plan, given),
        other => candle_core::bail!("no kernels for {other:?}"),
    }
}

/// Runs a plan and returns the first `N` tensors that it creates.
pub(super) fn run_for<const N: usize>(
    plan: &Plan,
    given: &[Option<&Tensor>],
) -> Result<[Tensor; N]> {
    let mut made = run(plan, given)?;
    made.truncate(N);
    match made.try_into() {
        Ok(made) => Ok(made),
        Err(_) => candle_core::bail!("a plan that makes fewer than {N} tensors"),
    }
}

/// Returns the address of a contiguous tensor's first value, on its device.
pub(super) fn address(tensor: &Tensor) -> Result<u64> {
    if !tensor.is_contiguous() {
        candle_core::bail!(
            "a kernel takes contiguous tensors, not {:?}",
            tensor.layout()
        );
    }
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => {
            let values = storage.as_slice::<f32>()?;
            Ok(values[layout.start_offset()..].as_ptr() as u64)
        }
        #[cfg(feature = "cuda")]
        Storage::Cuda(_) => super::device::address(tensor),
        _ => candle_core::bail!("no kernels for {:?}", tensor.device()),
    }
}
