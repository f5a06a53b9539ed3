//! The bridge to candle: a loss as one operation of the graph.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};

use super::batch::Batch;
use super::objective::Loss;
use crate::error::Result;

/// The loss of a batch as a scalar f32 tensor; its backward gives the gradient of the logits only.
///
/// `logits` have the shape (images, classes), any float type, any device; `targets` (0 or 1) are
/// theirs row by row, on the host as the loader made them. `epoch` counts from 0. Logits are few:
/// those on a GPU are copied to the host, where the loss is taken in f64, and the gradient is
/// copied back.
pub fn apply(
    loss: &Arc<dyn Loss>,
    logits: &Tensor,
    targets: &[f32],
    epoch: usize,
) -> Result<Tensor> {
    let (_, num_classes) = logits.dims2()?;
    let host = logits.detach().to_device(&Device::Cpu)?;
    let logit_values = host.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let batch = Batch::new(&logit_values, targets, num_classes, epoch)?;
    let mut gradient = vec![0.0; logit_values.len()];
    let value = loss.evaluate(&batch, &mut gradient)?;
    let op = Evaluated { value, gradient };
    let host = logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(host.apply_op1(op)?.to_device(logits.device())?)
}

/// A loss that has been evaluated already: forward and backward hand out what is known.
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
