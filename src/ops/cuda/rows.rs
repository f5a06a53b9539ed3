//! Layer norm and softmax over the last dimension.

use candle_core::{Result, Tensor};

use super::plan::{Place, Plan, groups, parts};
use super::run::run_for;

/// Returns the number of rows and of columns (the last dimension).
fn extent(x: &Tensor) -> (usize, usize) {
    let columns = x.dims().last().copied().unwrap_or(1);
    (x.elem_count() / columns.max(1), columns)
}

/// Returns `(x - mean) / sqrt(variance + epsilon) * gamma + beta` for each row of `x`
/// `[.., columns]`, and the statistics of the rows for the backward pass.
///
/// # Errors
/// If a kernel fails.
pub fn layer_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
) -> Result<(Tensor, Tensor)> {
    let (rows, columns) = extent(x);
    let mut plan = Plan::default();
    let [y, statistics] = [plan.make(x.shape()), plan.make((rows, 2))];
    let [given, gamma_place, beta_place] = [0, 1, 2].map(Place::Given);
    plan.launch(
        "layer_norm_forward",
        rows,
        &[given, gamma_place, beta_place, y, statistics],
        &[columns],
        &[epsilon],
    );
    let [y, statistics] = run_for(&plan, &[Some(x), Some(gamma), Some(beta)])?;
    Ok((y, statistics))
}

/// Returns the gradient of the `x` of [`layer_norm`].
///
/// # Errors
/// If a kernel fails.
pub fn layer_norm_input(
    x: &Tensor,
    gamma: &Tensor,
    statistics: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let (rows, columns) = extent(x);
    let mut plan = Plan::default();
    let of_x = plan.make(x.shape());
    let [given, gamma_place, kept, arriving] = [0, 1, 2, 3].map(Place::Given);
    let places = [given, gamma_place, kept, arriving, of_x];
    plan.launch("layer_norm_input", rows, &places, &[columns], &[]);
    let given = [Some(x), Some(gamma), Some(statistics), Some(gradient)];
    let [of_x] = run_for(&plan, &given)?;
    Ok(of_x)
}

/// Returns the gradients of gamma and beta, stacked in a tensor `[2, columns]`.
///
/// # Errors
/// If a kernel fails.
pub fn layer_norm_parameters(x: &Tensor, statistics: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let (rows, columns) = extent(x);
    let groups = groups(columns);
    let parts = parts(rows, groups);
    let mut plan = Plan::default();
    let whole = plan.make((2, columns));
    let sums = plan.make((parts, 2 * columns));
    let [given, kept, arriving] = [0, 1, 2].map(Place::Given);
    plan.launch(
        "layer_norm_sums",
        groups * parts,
        &[given, kept, arriving, sums],
        &[rows, columns, parts],
        &[],
    );
    let counts = [2 * columns, parts];
    plan.over("sum_parts", 2 * columns, &[sums, whole], &counts, &[]);
    let [whole] = run_for(&plan, &[Some(x), Some(statistics), Some(gradient)])?;
    Ok(whole)
}

/// Returns the softmax of each row of `scale * x`, for `x` `[.., columns]`.
///
/// # Errors
/// If a kernel fails.
pub fn softmax(x: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = extent(x);
    let mut plan = Plan::default();
    let y = plan.make(x.shape());
    let places = [Place::Given(0), y];
    plan.launch("softmax_forward", rows, &places, &[columns], &[scale]);
    let [y] = run_for(&plan, &[Some(x)])?;
    Ok(y)
}

/// Returns the gradient of the `x` of [`softmax`], from its output and the gradient of the output.
///
/// # Errors
/// If a kernel fails.
pub fn softmax_input(y: &Tensor, gradient: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = extent(y);
    let mut plan = Plan::default();
    let of_x = plan.make(y.shape());
    let places = [Place::Given(0), Place::Given(1), of_x];
    plan.launch("softmax_input", rows, &places, &[columns], &[scale]);
    let [of_x] = run_for(&plan, &[Some(y), Some(gradient)])?;
    Ok(of_x)
}
