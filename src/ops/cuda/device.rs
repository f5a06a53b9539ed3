//! Runs plans on tensors of a GPU.

use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Result, Storage, Tensor};

use super::plan::{Arguments, Made, Place, Plan, THREADS};

/// The kernels, compiled by build.rs; the driver translates them for the card once per process.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

// SAFETY: plain numbers, with the same layout in grid.h.
unsafe impl DeviceRepr for Arguments {}

/// Runs a plan in order on the device's stream.
pub(super) fn run(
    device: &CudaDevice,
    plan: &Plan,
    given: &[Option<&Tensor>],
) -> Result<Vec<Tensor>> {
    let made = (plan.made.iter())
        .map(|made| allocate(device, made))
        .collect::<Result<Vec<_>>>()?;
    let given = given
        .iter()
        .map(|tensor| tensor.map_or(Ok(0), address))
        .collect::<Result<Vec<_>>>()?;
    let places = made.iter().map(address).collect::<Result<Vec<_>>>()?;
    for launch in &plan.launches {
        let arguments = launch.arguments(|place| match place {
            Place::Given(index) => given.get(index).copied().unwrap_or(0),
            Place::Made(index) => places.get(index).copied().unwrap_or(0),
            Place::Null => 0,
        })?;
        let function = device.get_or_load_custom_func(launch.kernel, "dbloss", KERNELS)?;
        let mut builder = function.builder();
        builder.arg(&arguments);
        let width = LaunchConfig {
            grid_dim: (launch.blocks as u32, 1, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel takes `Arguments` by value. Its addresses belong to tensors that
        // outlive this call, and memory is freed in order on the single stream that does all work
        // of the device; the plan's counts are within these tensors (tests/cuda_kernels.rs).
        unsafe { builder.launch(width) }.w()?;
    }
    Ok(made)
}

/// Allocates a tensor with unspecified values.
fn allocate(device: &CudaDevice, made: &Made) -> Result<Tensor> {
    fn room<T: CudaDType + DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaStorage> {
        // SAFETY: every bit pattern is a valid number; the plan's kernels write the values.
        let slice = unsafe { device.alloc::<T>(count) }?;
        Ok(T::wrap_cuda_slice(slice, device.clone()))
    }
    let count = made.shape.elem_count();
    let storage = match made.dtype {
        DType::F32 => room::<f32>(device, count)?,
        DType::F64 => room::<f64>(device, count)?,
        DType::U32 => room::<u32>(device, count)?,
        other => candle_core::bail!("no kernel makes {other:?}"),
    };
    let storage = Storage::Cuda(storage);
    Ok(Tensor::from_storage(
        storage,
        made.shape.clone(),
        BackpropOp::none(),
        false,
    ))
}

/// Returns the address of a tensor's first value.
pub(super) fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!(
            "expected a tensor of the GPU, found one of {:?}",
            tensor.device()
        );
    };
    let stream = storage.device.cuda_stream();
    let offset = (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64;
    let (address, _order) = match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream),
        CudaStorageSlice::F64(slice) => slice.device_ptr(&stream),
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream),
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream),
        _ => candle_core::bail!("no kernel takes {:?}", tensor.dtype()),
    };
    Ok(address + offset)
}
