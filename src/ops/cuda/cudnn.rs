//! Convolutions and their gradients with cuDNN, channels last.
//!
//! The algorithm is chosen once per shape, by cuDNN's own estimate, from those that give the same
//! bits in every run. TF32 is used if the card supports it, as in PyTorch; `NVIDIA_TF32_OVERRIDE=0`
//! in the environment turns it off.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as InputAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as WeightAlgorithm, cudnnConvolutionFwdAlgo_t as Algorithm,
    cudnnConvolutionMode_t as Mode, cudnnTensorFormat_t as Format,
};
use candle_core::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, FilterDescriptor,
    TensorDescriptor,
};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Device, Result, Shape, Storage, Tensor};

use super::convolution::Convolution;
use super::descriptor::Descriptor;

thread_local! {
    // A handle must not be shared between threads.
    static STATES: RefCell<HashMap<DeviceId, Arc<State>>> = RefCell::default();
}

/// A handle and the choices made for each shape: the algorithm and the size of its workspace in
/// bytes.
#[derive(Debug)]
struct State {
    handle: Arc<Cudnn>,
    forward: RefCell<HashMap<Descriptor, (Algorithm, usize)>>,
    input: RefCell<HashMap<Descriptor, (InputAlgorithm, usize)>>,
    weights: RefCell<HashMap<Descriptor, (WeightAlgorithm, usize)>>,
}

fn state(device: &CudaDevice) -> Result<Arc<State>> {
    STATES.with(|states| {
        if let Some(state) = states.borrow().get(&device.id()) {
            return Ok(state.clone());
        }
        #[allow(
            clippy::arc_with_non_send_sync,
            reason = "shared within one thread, as cudarc's own handles are"
        )]
        let state = Arc::new(State {
            handle: Cudnn::new(device.cuda_stream())?,
            forward: RefCell::default(),
            input: RefCell::default(),
            weights: RefCell::default(),
        });
        states.borrow_mut().insert(device.id(), state.clone());
        Ok(state)
    })
}

/// cuDNN's descriptors of one convolution.
struct Described {
    input: TensorDescriptor<f32>,
    weights: FilterDescriptor<f32>,
    output: TensorDescriptor<f32>,
    convolution: ConvDescriptor<f32>,
}

impl Described {
    fn new(handle: &Arc<Cudnn>, shape: &Descriptor) -> Result<Self> {
        let last = Format::CUDNN_TENSOR_NHWC;
        let mode = Mode::CUDNN_CROSS_CORRELATION;
        let (padding, stride) = (shape.padding, shape.stride);
        let mut convolution = handle.create_conv2d::<f32>(padding, stride, [1, 1], mode)?;
        convolution.set_group_count(shape.groups)?;
        Ok(Described {
            input: handle.create_4d_tensor(last, shape.input)?,
            weights: handle.create_4d_filter(last, shape.weights)?,
            output: handle.create_4d_tensor(last, shape.output)?,
            convolution,
        })
    }
}

/// Returns the output of a convolution.
pub(super) fn forward(x: &Tensor, weights: &Tensor, convolution: &Convolution) -> Result<Tensor> {
    let (device, shape) = prepared(x, convolution, size(x)?)?;
    let x = bordered(x, &shape)?;
    let state = state(&device)?;
    let described = Described::new(&state.handle, &shape)?;
    let operation = ConvForward {
        conv: &described.convolution,
        x: &described.input,
        w: &described.weights,
        y: &described.output,
    };
    let (algorithm, bytes) = chosen(&state.forward, &shape, || {
        let algorithm = operation.pick_algorithm()?;
        Ok((algorithm, operation.get_workspace_size(algorithm)?))
    })?;
    let [batch, outputs, rows, columns] = shape.output.map(|size| size as usize);
    made(&device, (batch, rows, columns, outputs), |output| {
        let mut workspace = room(&device, bytes)?;
        with_values(&x, |x| {
            with_values(weights, |weights| {
                // SAFETY: the descriptors match these contiguous tensors.
                let done = unsafe {
                    operation.launch(
                        algorithm,
                        Some(&mut workspace),
                        (1.0, 0.0),
                        x,
                        weights,
                        output,
                    )
                };
                Ok(done?)
            })
        })
    })
}

/// Returns the gradient of the input.
pub(super) fn input_gradient(
    gradient: &Tensor,
    weights: &Tensor,
    convolution: &Convolution,
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let (batch, ..) = gradient.dims4()?;
    let (device, shape) = prepared(gradient, convolution, (batch, height, width))?;
    let state = state(&device)?;
    let described = Described::new(&state.handle, &shape)?;
    let operation = ConvBackwardData {
        conv: &described.convolution,
        dx: &described.input,
        w: &described.weights,
        dy: &described.output,
    };
    let (algorithm, bytes) = chosen(&state.input, &shape, || {
        let algorithm = match operation.pick_algorithm()? {
            // This algorithm uses atomic additions, whose order varies.
            InputAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 => {
                InputAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1
            }
            other => other,
        };
        Ok((algorithm, operation.get_workspace_size(algorithm)?))
    })?;
    let [_, channels, rows, columns] = shape.input.map(|size| size as usize);
    let whole = made(&device, (batch, rows, columns, channels), |of_x| {
        let mut workspace = room(&device, bytes)?;
        with_values(gradient, |gradient| {
            with_values(weights, |weights| {
                let space = Some(&mut workspace);
                // SAFETY: the descriptors match these contiguous tensors.
                let done = unsafe {
                    operation.launch(algorithm, space, (1.0, 0.0), of_x, weights, gradient)
                };
                Ok(done?)
            })
        })
    })?;
    match shape.border {
        [0, 0, 0, 0] => Ok(whole),
        [above, _, left, _] => whole
            .narrow(1, above, height)?
            .narrow(2, left, width)?
            .contiguous(),
    }
}

/// Returns the gradient of the weights.
pub(super) fn weight_gradient(
    x: &Tensor,
    gradient: &Tensor,
    convolution: &Convolution,
) -> Result<Tensor> {
    let (device, shape) = prepared(x, convolution, size(x)?)?;
    let x = bordered(x, &shape)?;
    let state = state(&device)?;
    let described = Described::new(&state.handle, &shape)?;
    let operation = ConvBackwardFilter {
        conv: &described.convolution,
        x: &described.input,
        dw: &described.weights,
        dy: &described.output,
    };
    let (algorithm, bytes) = chosen(&state.weights, &shape, || {
        let algorithm = match operation.pick_algorithm()? {
            // These algorithms use atomic additions, whose order varies.
            WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0
            | WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 => {
                WeightAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1
            }
            other => other,
        };
        Ok((algorithm, operation.get_workspace_size(algorithm)?))
    })?;
    let [outputs, inner, kernel, _] = shape.weights.map(|size| size as usize);
    made(&device, (outputs, kernel, kernel, inner), |of_weights| {
        let mut workspace = room(&device, bytes)?;
        with_values(&x, |x| {
            with_values(gradient, |gradient| {
                let space = Some(&mut workspace);
                // SAFETY: the descriptors match these contiguous tensors.
                let done = unsafe {
                    operation.launch(algorithm, space, (1.0, 0.0), x, of_weights, gradient)
                };
                Ok(done?)
            })
        })
    })
}

/// Returns batch, height and width of pictures.
fn size(x: &Tensor) -> Result<(usize, usize, usize)> {
    let (batch, height, width, _) = x.dims4()?;
    Ok((batch, height, width))
}

/// Returns the device of a tensor and the descriptor for cuDNN.
fn prepared(
    tensor: &Tensor,
    convolution: &Convolution,
    size: (usize, usize, usize),
) -> Result<(CudaDevice, Descriptor)> {
    let Device::Cuda(device) = tensor.device() else {
        candle_core::bail!("cuDNN takes tensors of a GPU, not of {:?}", tensor.device());
    };
    match Descriptor::new(convolution, size) {
        Some(shape) => Ok((device.clone(), shape)),
        None => candle_core::bail!("{convolution:?} on {size:?} is too large for cuDNN"),
    }
}

/// Returns `x` with the part of the zero padding that cuDNN cannot add itself.
fn bordered(x: &Tensor, shape: &Descriptor) -> Result<Tensor> {
    let [above, below, left, right] = shape.border;
    match shape.border {
        [0, 0, 0, 0] => Ok(x.clone()),
        _ => x
            .pad_with_zeros(1, above, below)?
            .pad_with_zeros(2, left, right)?
            .contiguous(),
    }
}

/// Returns the choice made for a shape, making it if necessary.
fn chosen<A: Copy>(
    known: &RefCell<HashMap<Descriptor, (A, usize)>>,
    shape: &Descriptor,
    choose: impl FnOnce() -> Result<(A, usize)>,
) -> Result<(A, usize)> {
    if let Some(found) = known.borrow().get(shape) {
        return Ok(*found);
    }
    let found = choose()?;
    known.borrow_mut().insert(*shape, found);
    Ok(found)
}

/// Allocates a workspace of at least one byte.
fn room(device: &CudaDevice, bytes: usize) -> Result<CudaSlice<u8>> {
    // SAFETY: cuDNN reads nothing there that it has not written.
    unsafe { device.alloc::<u8>(bytes.max(1)) }
}

/// Creates a tensor whose values are set by `write`.
fn made(
    device: &CudaDevice,
    shape: impl Into<Shape>,
    write: impl FnOnce(&mut CudaSlice<f32>) -> Result<()>,
) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: every bit pattern is a valid number, and all of them are written.
    let mut slice = unsafe { device.alloc::<f32>(shape.elem_count()) }?;
    write(&mut slice)?;
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
    Ok(Tensor::from_storage(
        storage,
        shape,
        BackpropOp::none(),
        false,
    ))
}

/// Passes the values of a contiguous tensor to `use_them`.
fn with_values<R>(
    tensor: &Tensor,
    use_them: impl FnOnce(&CudaView<f32>) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets(), tensor.dtype()) {
        (Storage::Cuda(storage), Some((start, end)), DType::F32) => {
            use_them(&storage.as_cuda_slice::<f32>()?.slice(start..end))
        }
        _ => candle_core::bail!("cuDNN takes contiguous `F32` tensors of a GPU, not {tensor:?}"),
    }
}
