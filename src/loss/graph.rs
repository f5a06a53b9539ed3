//! The bridge to candle: a loss as a single operation in the graph.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use super::batch::Batch;
use super::elementwise::Elementwise;
use super::objective::Loss;
use crate::error::Result;
use crate::ops::cuda::loss as device;
use crate::ops::graph as ops;

/// Returns the loss of a batch as a scalar f32 tensor, through which gradients flow to the logits
/// only.
///
/// `logits` have the shape (images, classes), with any float type on any device. `targets` (0 or 1)
/// are the labels in row-major order, in host memory where the loader leaves them. `epoch` counts
/// from 0. On a GPU, an element-wise loss is computed on the device. For any other loss the logits,
/// which are few, are copied to the host, the loss is computed there in f64, and the gradient is
/// copied back.
pub fn apply(
    loss: &Arc<dyn Loss>,
    logits: &Tensor,
    targets: &[f32],
    epoch: usize,
) -> Result<Tensor> {
    let (_, num_classes) = logits.dims2()?;
    if let Some(elementwise) = loss.elementwise()
        && ops::on_device(logits)
        && loss.num_classes() == Some(num_classes)
        && targets.len() == logits.elem_count()
    {
        return on_device(elementwise, logits, targets, epoch);
    }
    let host = logits.detach().to_device(&Device::Cpu)?;
    let logit_values = host.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let batch = Batch::new(&logit_values, targets, num_classes, epoch)?;
    let mut gradient = vec![0.0; logit_values.len()];
    let value = loss.evaluate(&batch, &mut gradient)?;
    let op = Evaluated { value, gradient };
    let host = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(host.apply_op1(op)?.to_device(logits.device())?)
}

/// Computes an element-wise loss with the kernel of the device that holds the logits.
fn on_device(loss: &Elementwise, logits: &Tensor, targets: &[f32], epoch: usize) -> Result<Tensor> {
    let (settings, by_element, by_class) = loss.for_device(targets, epoch);
    let detached = logits.detach().contiguous()?;
    let (value, gradient) = device::evaluate(&detached, &settings, by_element, &by_class)?;
    // A scalar with this value and this gradient in candle's graph.
    let slope = (logits * gradient)?.sum_all()?;
    let nothing = (&slope - slope.detach())?;
    Ok((nothing + value)?)
}

/// A loss that has already been evaluated: forward and backward return the stored results.
struct Evaluated {
    value: f64,
    gradient: Vec<f64>,
}

impl CustomOp1 for Evaluated {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let storage = CpuStorage::F32(vec![self.value as f32]);
        Ok((storage, Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _: &Tensor,
        gradient_of_loss: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let gradient: Vec<f32> = self.gradient.iter().map(|&g| g as f32).collect();
        let gradient = Tensor::from_vec(gradient, logits.shape(), logits.device())?;
        Ok(Some(gradient.broadcast_mul(gradient_of_loss)?))
    }
}
