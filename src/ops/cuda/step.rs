//! Dropout masks, the norm of all gradients, and the update of all parameters in one launch.

use candle_core::{DType, Device, Result, Tensor};

use super::plan::{Place, Plan};
use super::run::{address, run, run_for};

/// Number of scalars that a block updates.
const PIECE: usize = 1 << 14;
/// Number of draws that a thread makes at once.
const DRAWS: usize = 8;

/// An update rule with its settings for all parameters, in PyTorch's conventions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent; it has one slot, the velocity.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Weight decay, added to the gradient.
        weight_decay: f64,
        /// Whether to use Nesterov momentum.
        nesterov: bool,
    },
    /// Adam with decoupled weight decay; it has two slots, the moments.
    AdamW {
        /// Decay rates of the two moments.
        betas: [f64; 2],
        /// Added to the square root of the second moment.
        epsilon: f64,
        /// Weight decay.
        weight_decay: f64,
        /// Number of updates, including the next one.
        count: u64,
    },
}

/// A parameter with its gradient and optimiser state, all tensors of the same shape.
#[derive(Debug, Clone)]
pub struct Member {
    /// The values, which are updated.
    pub parameter: Tensor,
    /// The optimiser state, which is updated.
    pub slots: Vec<Tensor>,
    /// The gradient.
    pub gradient: Tensor,
    /// Learning rate.
    pub rate: f64,
    /// Factor on the weight decay.
    pub decay: f64,
}

/// Returns a dropout mask, `[count]` on the device of `like`: 0 with `probability`, otherwise 1 /
/// (1 - probability), from the draws of the ChaCha stream of `key` starting with number `first`.
///
/// # Errors
/// If a kernel fails.
pub fn dropout_mask(
    (key, first): (&[u8; 32], usize),
    count: usize,
    probability: f64,
    like: &Tensor,
) -> Result<Tensor> {
    let mut plan = Plan::default();
    let mask = plan.make(count);
    let (words, _) = key.as_chunks::<4>();
    let words = words
        .iter()
        .map(|word| f64::from(u32::from_le_bytes(*word)));
    let reals: Vec<f64> = [probability].into_iter().chain(words).collect();
    let blocks = (first + count).div_ceil(DRAWS) - first / DRAWS;
    plan.over("dropout_mask", blocks, &[mask], &[first, count], &reals);
    let [mask] = run_for(&plan, &[Some(like)])?;
    Ok(mask)
}

/// Returns the sum of the squares of all values of contiguous `tensors`, in double precision; only
/// this one number is copied to the host.
///
/// # Errors
/// If a kernel fails.
pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<f64> {
    let mut rows = Vec::new();
    for tensor in tensors {
        push_rows(
            &mut rows,
            [0, 0, 0, address(tensor)?],
            tensor.elem_count(),
            [0.0; 2],
        );
    }
    let Some(table) = table(rows, tensors.first().copied())? else {
        return Ok(0.0);
    };
    let pieces = table.dim(0)?;
    let mut plan = Plan::default();
    let [sum, parts] = [1, pieces].map(|count| plan.make_as(DType::F64, count));
    plan.launch("squares", pieces, &[Place::Given(0), parts], &[], &[]);
    plan.launch("sum_all", 1, &[parts, sum], &[pieces], &[]);
    let [sum] = run_for(&plan, &[Some(&table)])?;
    sum.get(0)?.to_scalar::<f64>()
}

/// Updates all `members` in place, with their gradients multiplied by `factor`. The tensors must be
/// contiguous, in single precision, distinct and on one device.
///
/// # Errors
/// If a kernel fails, or the slots of a member do not match the rule, or its tensors differ in
/// size.
pub fn update(rule: &Rule, members: &[Member], factor: f64) -> Result<()> {
    let slots = match rule {
        Rule::Sgd { .. } => 1,
        Rule::AdamW { .. } => 2,
    };
    let mut rows = Vec::new();
    for member in members {
        let all = member.slots.iter().chain([&member.gradient]);
        let count = member.parameter.elem_count();
        let alike = all.clone().all(|tensor| {
            tensor.elem_count() == count && tensor.is_contiguous() && tensor.dtype() == DType::F32
        });
        if member.slots.len() != slots || !alike || !member.parameter.is_contiguous() {
            candle_core::bail!("{rule:?} cannot move a parameter with these tensors: {member:?}");
        }
        let slot = |index: usize| member.slots.get(index).map_or(Ok(0), address);
        let places = [
            address(&member.parameter)?,
            slot(0)?,
            slot(1)?,
            address(&member.gradient)?,
        ];
        push_rows(&mut rows, places, count, [member.rate, member.decay]);
    }
    let Some(table) = table(rows, members.first().map(|member| &member.parameter))? else {
        return Ok(());
    };
    let mut plan = Plan::default();
    let (places, pieces) = ([Place::Given(0)], table.dim(0)?);
    match *rule {
        Rule::Sgd {
            momentum,
            weight_decay,
            nesterov,
        } => {
            let reals = [momentum, weight_decay, factor];
            plan.launch("sgd", pieces, &places, &[usize::from(nesterov)], &reals);
        }
        Rule::AdamW {
            betas: [first, second],
            epsilon,
            weight_decay,
            count,
        } => {
            let [of_first, of_second] = [first, second].map(|beta| 1.0 - beta.powf(count as f64));
            let reals = [
                first,
                second,
                epsilon,
                weight_decay,
                factor,
                of_first,
                of_second,
            ];
            plan.launch("adamw", pieces, &places, &[], &reals);
        }
    }
    run(&plan, &[Some(&table)])?;
    Ok(())
}

/// Appends the pieces of a tensor of `count` values, each a `Piece` of step.h.
fn push_rows(rows: &mut Vec<i64>, places: [u64; 4], count: usize, numbers: [f64; 2]) {
    for start in (0..count).step_by(PIECE) {
        let at = |place: u64| match place {
            0 => 0,
            place => (place + 4 * start as u64).cast_signed(),
        };
        rows.extend(places.map(at));
        rows.push(PIECE.min(count - start) as i64);
        rows.extend(numbers.map(|number| number.to_bits().cast_signed()));
        rows.push(0);
    }
}

/// Returns the rows as a tensor on the device of `like`, or `None` if there are none.
fn table(rows: Vec<i64>, like: Option<&Tensor>) -> Result<Option<Tensor>> {
    let device = like.map_or(&Device::Cpu, Tensor::device);
    match rows.len() / 8 {
        0 => Ok(None),
        count => Ok(Some(Tensor::from_vec(rows, (count, 8), device)?)),
    }
}
