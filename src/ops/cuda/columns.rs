//! Convolutions and their gradients without cuDNN: a dense convolution is a matrix product with the
//! im2col columns of a limited number of output pixels at a time, so that memory is bounded; a
//! grouped convolution is computed directly. Pictures are `[batch, height, width, channels]`,
//! weights `[outputs, kernel, kernel, channels / groups]`.

use candle_core::{Result, Tensor};

use super::convolution::Convolution;
use super::plan::{Place, Plan, groups as lanes, parts};
use super::run::run_for;

/// Returns the output of a convolution, using at most `bytes` of columns at a time.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn forward(
    x: &Tensor,
    weights: &Tensor,
    convolution: &Convolution,
    bytes: usize,
) -> Result<Tensor> {
    let (batch, height, width, _) = x.dims4()?;
    let outputs = convolution.out_channels;
    let (rows, columns) = convolution.output_size((height, width));
    let shape = (batch, rows, columns, outputs);
    let pixels = batch * rows * columns;
    if convolution.groups > 1 {
        return grouped_forward(x, weights, convolution);
    }
    let matrix = weights.reshape((outputs, convolution.depth()))?.t()?;
    if convolution.is_pointwise() {
        let x = x.reshape((pixels, convolution.in_channels))?;
        return x.matmul(&matrix)?.reshape(shape);
    }
    let pieces = convolution.pieces(pixels, bytes);
    let product =
        |&(first, end): &(usize, usize)| columns_of(x, convolution, first, end)?.matmul(&matrix);
    let made = pieces.iter().map(product).collect::<Result<Vec<_>>>()?;
    match &made[..] {
        [whole] => whole.reshape(shape),
        _ => Tensor::cat(&made, 0)?.reshape(shape),
    }
}

/// Returns the gradient of the input of size `(height, width)`, using at most `bytes` of columns at
/// a time.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn input_gradient(
    gradient: &Tensor,
    weights: &Tensor,
    convolution: &Convolution,
    (height, width): (usize, usize),
    bytes: usize,
) -> Result<Tensor> {
    let (batch, rows, columns, outputs) = gradient.dims4()?;
    let shape = (batch, height, width, convolution.in_channels);
    let pixels = batch * rows * columns;
    if convolution.groups > 1 {
        return grouped_input(gradient, weights, convolution, (height, width));
    }
    let gradient = gradient.reshape((pixels, outputs))?;
    let matrix = weights.reshape((outputs, convolution.depth()))?;
    if convolution.is_pointwise() {
        return gradient.matmul(&matrix)?.reshape(shape);
    }
    let window = convolution.window((height, width));
    let count = batch * height * width * convolution.in_channels;
    let mut sum: Option<Tensor> = None;
    for (first, end) in convolution.pieces(pixels, bytes) {
        let of_columns = gradient.narrow(0, first, end - first)?.matmul(&matrix)?;
        let mut plan = Plan::default();
        let of_x = plan.make(shape);
        let places = [Place::Given(0), Place::Given(1), of_x];
        let counts = window.counts(&[count, first, end]);
        plan.over("columns_input", count, &places, &counts, &[]);
        let [next] = run_for(&plan, &[Some(&of_columns), sum.as_ref()])?;
        sum = Some(next);
    }
    match sum {
        Some(sum) => Ok(sum),
        None => Tensor::zeros(shape, gradient.dtype(), gradient.device()),
    }
}

/// Returns the gradient of the weights, using at most `bytes` of columns at a time.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn weight_gradient(
    x: &Tensor,
    gradient: &Tensor,
    convolution: &Convolution,
    bytes: usize,
) -> Result<Tensor> {
    let (batch, rows, columns, outputs) = gradient.dims4()?;
    let kernel = convolution.kernel;
    let inner = convolution.in_channels / convolution.groups.max(1);
    let shape = (outputs, kernel, kernel, inner);
    let pixels = batch * rows * columns;
    if convolution.groups > 1 {
        return grouped_weights(x, gradient, convolution);
    }
    let gradient = gradient.reshape((pixels, outputs))?;
    if convolution.is_pointwise() {
        let x = x.reshape((pixels, convolution.in_channels))?;
        return gradient.t()?.matmul(&x)?.reshape(shape);
    }
    let mut sum: Option<Tensor> = None;
    for (first, end) in convolution.pieces(pixels, bytes) {
        let columns = columns_of(x, convolution, first, end)?;
        let piece = gradient.narrow(0, first, end - first)?;
        let part = piece.t()?.matmul(&columns)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    match sum {
        Some(sum) => sum.reshape(shape),
        None => Tensor::zeros(shape, gradient.dtype(), gradient.device()),
    }
}

/// Returns the inputs of the output pixels `first..end`: `[pixels, taps x channels]`.
fn columns_of(x: &Tensor, convolution: &Convolution, first: usize, end: usize) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    let depth = convolution.depth();
    let count = (end - first) * depth;
    let mut plan = Plan::default();
    let columns = plan.make((end - first, depth));
    let counts = convolution.window((height, width)).counts(&[count, first]);
    plan.over(
        "columns_forward",
        count,
        &[Place::Given(0), columns],
        &counts,
        &[],
    );
    let [columns] = run_for(&plan, &[Some(x)])?;
    Ok(columns)
}

fn grouped_forward(x: &Tensor, weights: &Tensor, convolution: &Convolution) -> Result<Tensor> {
    let (batch, height, width, _) = x.dims4()?;
    let window = convolution.window((height, width));
    let outputs = convolution.out_channels;
    let count = batch * window.rows * window.columns * outputs;
    let mut plan = Plan::default();
    let y = plan.make((batch, window.rows, window.columns, outputs));
    let places = [Place::Given(0), Place::Given(1), y];
    let counts = window.counts(&[count, outputs, convolution.groups]);
    plan.over("grouped_forward", count, &places, &counts, &[]);
    let [y] = run_for(&plan, &[Some(x), Some(weights)])?;
    Ok(y)
}

fn grouped_input(
    gradient: &Tensor,
    weights: &Tensor,
    convolution: &Convolution,
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let (batch, _, _, outputs) = gradient.dims4()?;
    let window = convolution.window((height, width));
    let count = batch * height * width * convolution.in_channels;
    let mut plan = Plan::default();
    let of_x = plan.make((batch, height, width, convolution.in_channels));
    let places = [Place::Given(0), Place::Given(1), of_x];
    let counts = window.counts(&[count, outputs, convolution.groups]);
    plan.over("grouped_input", count, &places, &counts, &[]);
    let [of_x] = run_for(&plan, &[Some(gradient), Some(weights)])?;
    Ok(of_x)
}

fn grouped_weights(x: &Tensor, gradient: &Tensor, convolution: &Convolution) -> Result<Tensor> {
    let (batch, height, width, _) = x.dims4()?;
    let window = convolution.window((height, width));
    let (kernel, outputs) = (convolution.kernel, convolution.out_channels);
    let inner = convolution.in_channels / convolution.groups;
    let entries = kernel * kernel * inner;
    let pixels = batch * window.rows * window.columns;
    let blocks = lanes(outputs) * entries;
    let parts = parts(pixels, blocks);
    let mut plan = Plan::default();
    let whole = plan.make((outputs, kernel, kernel, inner));
    let sums = plan.make((parts, outputs * entries));
    plan.launch(
        "grouped_weights",
        blocks * parts,
        &[Place::Given(0), Place::Given(1), sums],
        &window.counts(&[pixels, outputs, convolution.groups, parts]),
        &[],
    );
    let counts = [outputs * entries, parts];
    plan.over("sum_parts", outputs * entries, &[sums, whole], &counts, &[]);
    let [whole] = run_for(&plan, &[Some(x), Some(gradient)])?;
    Ok(whole)
}
