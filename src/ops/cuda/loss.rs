//! Element-wise losses: value and gradient in double precision, on the device of the logits.

use candle_core::{DType, Result, Tensor};

use super::plan::{Place, Plan, THREADS};
use super::run::run_for;

/// Maximum number of blocks over the elements of a batch.
const MOST_BLOCKS: usize = 64;

/// The loss of one logit before weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernel {
    /// softplus(z) - y z.
    CrossEntropy,
    /// The asymmetric family.
    Asymmetric {
        /// Focusing exponents for negatives and positives.
        gammas: [f64; 2],
        /// Probability margin for negatives.
        clip: f64,
        /// Coefficients of 1 - p and (1 - p)^2 / 2 for positives.
        orders: [f64; 2],
        /// Smallest probability inside a logarithm.
        eps: f64,
        /// Whether the focusing weight is held constant in the gradient.
        hold: bool,
    },
    /// Hill loss.
    Hill {
        /// The loss of negatives is (limit - p) p^2, which turns down beyond p = 2 limit / 3.
        limit: f64,
        /// Focusing exponent for positives.
        gamma: f64,
    },
}

/// The settings of a loss, except those that vary by class or element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The loss of one logit.
    pub kernel: Kernel,
    /// Factor on the whole loss.
    pub scale: f64,
    /// Factor on the logits of negatives.
    pub scale_negative: f64,
    /// Factor on the loss of negatives.
    pub factor_negative: f64,
    /// Negatives with a probability above this count as positives.
    pub relabel: Option<f64>,
    /// Exponent and balance of the focal factor.
    pub focal: Option<(f64, f64)>,
    /// Divisor of the sum over all elements.
    pub divisor: f64,
}

/// Returns the value (a scalar) and the gradient (of the shape of `logits`, `[images, classes]`).
/// `by_element` holds the weights of all elements, then their targets; `by_class` the shifts of the
/// logits of positives, then those of negatives, then the scales of the logits of positives.
///
/// # Errors
/// If a kernel fails, or the lengths of `by_element` and `by_class` do not match the logits.
pub fn evaluate(
    logits: &Tensor,
    settings: &Settings,
    by_element: Vec<f64>,
    by_class: &[f64],
) -> Result<(Tensor, Tensor)> {
    let (images, classes) = logits.dims2()?;
    let count = images * classes;
    if by_element.len() != 2 * count || by_class.len() != 3 * classes {
        candle_core::bail!("a loss of {images} x {classes} logits with numbers for others");
    }
    let mut table = by_element;
    table.extend_from_slice(by_class);
    let len = table.len();
    let table = Tensor::from_vec(table, len, logits.device())?;
    let blocks = count.div_ceil(THREADS).clamp(1, MOST_BLOCKS);
    let mut plan = Plan::default();
    let [value, gradient] = [plan.make(()), plan.make((images, classes))];
    let parts = plan.make_as(DType::F64, blocks);
    let (relabel, focal) = (settings.relabel.is_some(), settings.focal.is_some());
    let (number, hold, own) = numbers(&settings.kernel);
    let (exponent, balance) = settings.focal.unwrap_or((0.0, 1.0));
    let mut reals = vec![
        settings.scale,
        settings.scale_negative,
        settings.factor_negative,
        settings.relabel.unwrap_or(1.0),
        exponent,
        balance,
    ];
    reals.extend(own);
    reals.resize(15, 0.0);
    reals.push(settings.divisor);
    plan.launch(
        "loss_elements",
        blocks,
        &[Place::Given(0), Place::Given(1), gradient, parts],
        &[
            count,
            classes,
            number,
            hold.into(),
            relabel.into(),
            focal.into(),
        ],
        &reals,
    );
    plan.launch("loss_value", 1, &[parts, value], &[blocks], &[]);
    let [value, gradient] = run_for(&plan, &[Some(logits), Some(&table)])?;
    Ok((value, gradient))
}

/// Returns the kernel's number in loss.h, whether it holds its focusing weight constant, and its
/// reals from index 6 on.
fn numbers(kernel: &Kernel) -> (usize, bool, Vec<f64>) {
    match *kernel {
        Kernel::CrossEntropy => (0, false, Vec::new()),
        Kernel::Asymmetric {
            gammas: [negative, positive],
            clip,
            orders: [first, second],
            eps,
            hold,
        } => (1, hold, vec![negative, positive, clip, first, second, eps]),
        Kernel::Hill { limit, gamma } => (2, false, vec![limit, gamma]),
    }
}
