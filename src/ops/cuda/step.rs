//! Dropout's mask, the norm of all gradients, and the update of all parameters in one launch.

use candle_core::{DType, Device, Result, Tensor};

use super::plan::{Place, Plan};
use super::run::{address, run, run_for};

/// Scalars that a block updates.
const PIECE: usize = 1 << 14;
/// Draws that a thread makes at the same time.
const DRAWS: usize = 8;

/// An update rule with what all parameters share, in PyTorch's conventions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent; one slot, the velocity.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Weight decay, added to the gradient.
        weight_decay: f64,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// Adam with decoupled weight decay; two slots, the moments.
    AdamW {
        /// How slowly the moments follow.
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Weight decay.
        weight_decay: f64,
        /// Updates done, the next one included.
        count: u64,
    },
}

/// One parameter with what goes with it; all tensors of its shape.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its values, which change.
    pub parameter: Tensor,
    /// What the rule keeps for it, which changes.
    pub slots: Vec<Tensor>,
    /// Its gradient.
    pub gradient: Tensor,
    /// Learning rate.
    pub rate: f64,
    /// Factor on the weight decay.
    pub decay: f64,
}

/// The mask of dropout, `[count]` on the device of `like`: 0 with `probability`, else
/// 1 / (1 - probability), by the draws of the ChaCha stream of `key` from number `first` on.
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

/// The sum of the squares of all values of contiguous `tensors`, in double precision: the one number
/// that comes back to the host.
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

/// Changes all `members` in place: their gradients count times `factor`. The tensors are contiguous,
/// of single precision, on one device, and no two are the same.
///
/// # Errors
/// If a kernel fails, or a member has other slots than the rule keeps or tensors of several sizes.
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

/// Appends the pieces of a tensor of `count` values, `Piece` in step.h.
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

/// The rows on the device of `like`; none where there is no row.
fn table(rows: Vec<i64>, like: Option<&Tensor>) -> Result<Option<Tensor>> {
    let device = like.map_or(&Device::Cpu, Tensor::device);
    match rows.len() / 8 {
        0 => Ok(None),
        count => Ok(Some(Tensor::from_vec(rows, (count, 8), device)?)),
    }
}
