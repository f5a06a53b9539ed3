//! Max pooling and global average pooling of pictures `[batch, height, width, channels]`.

use candle_core::{DType, Result, Tensor};

use super::plan::{Place, Plan, groups};
use super::run::run_for;
use crate::ops::pool::MaxPoolShape;

/// A window that slides over pictures, in the form that windows.h expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
    pub kernel: usize,
    pub stride: usize,
    pub top: usize,
    pub left: usize,
}

impl Window {
    /// Returns the counts of a kernel: the window's, then `others`.
    pub(super) fn counts(&self, others: &[usize]) -> Vec<usize> {
        let own = [
            self.height,
            self.width,
            self.channels,
            self.rows,
            self.columns,
            self.kernel,
            self.stride,
            self.top,
            self.left,
        ];
        [&own[..], others].concat()
    }
}

fn pool_window(shape: &MaxPoolShape, height: usize, width: usize) -> Window {
    Window {
        height,
        width,
        channels: shape.channels,
        rows: shape.output_size(height),
        columns: shape.output_size(width),
        kernel: shape.kernel,
        stride: shape.stride,
        top: shape.padding,
        left: shape.padding,
    }
}

/// Returns the result of max pooling and, for the backward pass, the tap with the maximum of each
/// window.
///
/// # Errors
/// If a kernel fails, or `x` does not have four dimensions.
pub fn max_pool(x: &Tensor, shape: &MaxPoolShape) -> Result<(Tensor, Tensor)> {
    let (batch, height, width, _) = x.dims4()?;
    let window = pool_window(shape, height, width);
    let outputs = (batch, window.rows, window.columns, window.channels);
    let mut plan = Plan::default();
    let [y, winners] = [plan.make(outputs), plan.make_as(DType::U32, outputs)];
    let count = batch * window.rows * window.columns * window.channels;
    let places = [Place::Given(0), y, winners];
    let counts = window.counts(&[count]);
    plan.over("max_pool_forward", count, &places, &counts, &[]);
    let [y, winners] = run_for(&plan, &[Some(x)])?;
    Ok((y, winners))
}

/// Returns the gradient of the input `[batch, height, width, channels]` of [`max_pool`].
///
/// # Errors
/// If a kernel fails.
pub fn max_pool_input(
    gradient: &Tensor,
    winners: &Tensor,
    shape: &MaxPoolShape,
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let (batch, ..) = gradient.dims4()?;
    let window = pool_window(shape, height, width);
    let mut plan = Plan::default();
    let of_x = plan.make((batch, height, width, window.channels));
    let count = batch * height * width * window.channels;
    let places = [Place::Given(0), Place::Given(1), of_x];
    let counts = window.counts(&[count]);
    plan.over("max_pool_input", count, &places, &counts, &[]);
    let [of_x] = run_for(&plan, &[Some(gradient), Some(winners)])?;
    Ok(of_x)
}

/// Returns the mean over the pixels of each picture, `[batch, 1, 1, channels]`.
///
/// # Errors
/// If a kernel fails, or `x` does not have four dimensions.
pub fn average(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let mut plan = Plan::default();
    let y = plan.make((batch, 1, 1, channels));
    let blocks = groups(channels) * batch;
    let counts = [height * width, channels];
    plan.launch(
        "average_forward",
        blocks,
        &[Place::Given(0), y],
        &counts,
        &[],
    );
    let [y] = run_for(&plan, &[Some(x)])?;
    Ok(y)
}

/// Returns the gradient of the input of [`average`], for pictures of `(height, width)`.
///
/// # Errors
/// If a kernel fails.
pub fn average_input(gradient: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (batch, _, _, channels) = gradient.dims4()?;
    let mut plan = Plan::default();
    let of_x = plan.make((batch, height, width, channels));
    let count = batch * height * width * channels;
    let counts = [height * width, channels, count];
    plan.over(
        "average_input",
        count,
        &[Place::Given(0), of_x],
        &counts,
        &[],
    );
    let [of_x] = run_for(&plan, &[Some(gradient)])?;
    Ok(of_x)
}
