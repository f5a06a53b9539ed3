//! The operations that follow a convolution (a norm or a bias, residual and activation), and their
//! gradients.

use candle_core::{Result, Tensor};

use super::plan::{Place, Plan, groups, parts};
use super::run::run_for;
use crate::ops::Activation;

/// A per-channel affine map, `u = (x + before - mean) * inverse * gamma * factor + beta`, where
/// `before`, `mean`, `inverse`, `gamma` and `beta` hold one value per channel.
#[derive(Debug, Clone)]
pub struct Affine {
    /// Added to the input.
    pub before: Option<Tensor>,
    /// Subtracted.
    pub mean: Option<Tensor>,
    /// 1 / sqrt(variance + epsilon).
    pub inverse: Option<Tensor>,
    /// Learned scale.
    pub gamma: Option<Tensor>,
    /// Added last.
    pub beta: Option<Tensor>,
    /// Fixed scale.
    pub factor: f64,
}

impl Default for Affine {
    /// The identity.
    fn default() -> Self {
        Affine {
            before: None,
            mean: None,
            inverse: None,
            gamma: None,
            beta: None,
            factor: 1.0,
        }
    }
}

impl Affine {
    /// Returns whether it is the identity.
    pub fn is_identity(&self) -> bool {
        let tensors = [
            &self.before,
            &self.mean,
            &self.inverse,
            &self.gamma,
            &self.beta,
        ];
        self.factor == 1.0 && tensors.iter().all(|tensor| tensor.is_none())
    }
}

/// Mean and variance of each channel over a batch.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Mean, `[channels]`.
    pub mean: Tensor,
    /// Biased variance, `[channels]`.
    pub variance: Tensor,
    /// 1 / sqrt(variance + epsilon), `[channels]`.
    pub inverse: Tensor,
}

/// Gradients of the value before the activation, of the input and of the channels' parameters.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Gradient of the value before the activation, which is also that of the residual branch.
    pub of_value: Tensor,
    /// Gradient of `x`.
    pub of_x: Tensor,
    /// Gradient of `before`, or of `beta` if there is no `before`; `None` unless requested.
    pub of_shift: Option<Tensor>,
    /// Gradient of `gamma`; `None` unless requested.
    pub of_gamma: Option<Tensor>,
}

/// Returns the number of an activation in activation.h.
fn number(activation: Activation) -> usize {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Silu => 3,
        Activation::HardSwish => 4,
        Activation::Gelu => 5,
        Activation::QuickGelu => 6,
        Activation::Sigmoid => 7,
        Activation::HardSigmoid => 8,
    }
}

/// Returns the number of pixels and of channels (the last dimension).
fn extent(x: &Tensor) -> (usize, usize) {
    let channels = x.dims().last().copied().unwrap_or(1);
    (x.elem_count() / channels.max(1), channels)
}

/// Returns mean and variance of each channel of `x` `[.., channels]`.
///
/// # Errors
/// If a kernel fails.
pub fn statistics(x: &Tensor, epsilon: f64) -> Result<Statistics> {
    let (pixels, channels) = extent(x);
    let groups = groups(channels);
    let parts = parts(pixels, groups);
    let mut plan = Plan::default();
    let [mean, variance, inverse] = [(); 3].map(|()| plan.make(channels));
    let [means, rests, squares] = [(); 3].map(|()| plan.make((parts, channels)));
    plan.launch(
        "moments_part",
        groups * parts,
        &[Place::Given(0), means, rests, squares],
        &[pixels, channels, parts],
        &[],
    );
    plan.over(
        "moments_combine",
        channels,
        &[means, rests, squares, mean, variance, inverse],
        &[pixels, channels, parts],
        &[epsilon],
    );
    let [mean, variance, inverse] = run_for(&plan, &[Some(x)])?;
    Ok(Statistics {
        mean,
        variance,
        inverse,
    })
}

/// Returns 1 / sqrt(variance + epsilon).
///
/// # Errors
/// If a kernel fails.
pub fn inverse_deviation(variance: &Tensor, epsilon: f64) -> Result<Tensor> {
    let channels = variance.elem_count();
    let mut plan = Plan::default();
    let inverse = plan.make(channels);
    let places = [Place::Given(0), inverse];
    plan.over("deviation", channels, &places, &[channels], &[epsilon]);
    let [inverse] = run_for(&plan, &[Some(variance)])?;
    Ok(inverse)
}

/// The places of x, residual and the per-channel values, in this order.
const INPUTS: [Place; 7] = [
    Place::Given(0),
    Place::Given(1),
    Place::Given(2),
    Place::Given(3),
    Place::Given(4),
    Place::Given(5),
    Place::Given(6),
];

fn inputs<'a>(
    x: &'a Tensor,
    affine: &'a Affine,
    residual: Option<&'a Tensor>,
) -> [Option<&'a Tensor>; 7] {
    [
        Some(x),
        residual,
        affine.before.as_ref(),
        affine.mean.as_ref(),
        affine.inverse.as_ref(),
        affine.gamma.as_ref(),
        affine.beta.as_ref(),
    ]
}

/// Computes `activation(u + residual)` for `x` `[.., channels]`.
///
/// # Errors
/// If a kernel fails.
pub fn forward(
    x: &Tensor,
    affine: &Affine,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let (count, (_, channels)) = (x.elem_count(), extent(x));
    let mut plan = Plan::default();
    let y = plan.make(x.shape());
    let places = [&INPUTS[..], &[y]].concat();
    let counts = [count, channels, number(activation)];
    plan.over("affine_forward", count, &places, &counts, &[affine.factor]);
    let [y] = run_for(&plan, &inputs(x, affine, residual))?;
    Ok(y)
}

/// Computes the gradients of [`forward`] from that of its output. `own_statistics` says that mean
/// and inverse are those of `x` itself, and `parameters` that the gradients of the channels'
/// parameters are requested.
///
/// # Errors
/// If a kernel fails.
pub fn backward(
    x: &Tensor,
    affine: &Affine,
    residual: Option<&Tensor>,
    activation: Activation,
    gradient: &Tensor,
    (own_statistics, parameters): (bool, bool),
) -> Result<Gradients> {
    let (count, (pixels, channels)) = (x.elem_count(), extent(x));
    let mut plan = Plan::default();
    let [of_value, of_x] = [(); 2].map(|()| plan.make(x.shape()));
    let [of_shift, of_gamma] = [(); 2].map(|()| plan.make(channels));
    let masked_x = if own_statistics { Place::Null } else { of_x };
    plan.over(
        "affine_mask",
        count,
        &[&INPUTS[..], &[Place::Given(7), of_value, masked_x]].concat(),
        &[count, channels, number(activation)],
        &[affine.factor],
    );
    let [_, _, before, mean, inverse, gamma, _] = INPUTS;
    if own_statistics || parameters {
        let groups = groups(channels);
        let parts = parts(pixels, groups);
        let [sum, moment] = [(); 2].map(|()| plan.make(channels));
        let [sums, moments] = [(); 2].map(|()| plan.make((parts, channels)));
        plan.launch(
            "affine_sums",
            groups * parts,
            &[INPUTS[0], before, mean, of_value, sums, moments],
            &[pixels, channels, parts],
            &[],
        );
        plan.over(
            "affine_parameters",
            channels,
            &[
                sums, moments, inverse, gamma, of_shift, of_gamma, sum, moment,
            ],
            &[channels, parts, usize::from(affine.before.is_some())],
            &[affine.factor],
        );
        if own_statistics {
            plan.over(
                "affine_input",
                count,
                &[INPUTS[0], mean, inverse, gamma, of_value, sum, moment, of_x],
                &[count, channels, pixels],
                &[affine.factor],
            );
        }
    }
    let mut given = inputs(x, affine, residual).to_vec();
    given.push(Some(gradient));
    let [of_value, of_x, of_shift, of_gamma] = run_for(&plan, &given)?;
    Ok(Gradients {
        of_value,
        of_x,
        of_shift: parameters.then_some(of_shift),
        of_gamma: parameters.then_some(of_gamma),
    })
}
