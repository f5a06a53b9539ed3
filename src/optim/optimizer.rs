//! The state of an optimiser, with the tensors it keeps for each parameter, and the update of all
//! parameters.

use candle_core::{Tensor, Var};

use super::Kind;
use super::config::OptimizerConfig;
use super::update::Step;
use crate::error::{Error, Result};
use crate::model::{Gradients, Parameter, Parameters, Role};
use crate::ops::cuda::step;
use crate::ops::graph::{self, Lazy};

/// An optimiser for the parameters of one network.
#[derive(Debug)]
pub struct Optimizer {
    kind: Kind,
    /// Indexed by parameter; `None` for one that is not trained.
    members: Vec<Option<Member>>,
    /// The number of updates so far.
    count: u64,
}

/// A trained parameter.
#[derive(Debug)]
struct Member {
    name: String,
    slots: Vec<Var>,
    rate: f64,
    decay: f64,
}

/// Updates all parameters in one kernel launch on the GPU.
fn update_on_device(
    rule: &step::Rule,
    work: &[(&Parameter, &Member, &Lazy)],
    rate: f64,
    factor: f64,
) -> Result<()> {
    let member = |(entry, member, gradient): &(&Parameter, &Member, &Lazy)| {
        let slots = member.slots.iter().map(|slot| slot.as_tensor().clone());
        Ok(step::Member {
            parameter: entry.var.as_tensor().clone(),
            slots: slots.collect(),
            gradient: gradient.tensor()?.contiguous()?,
            rate: rate * member.rate,
            decay: member.decay,
        })
    };
    let members = work.iter().map(member).collect::<Result<Vec<_>>>()?;
    step::update(rule, &members, factor)?;
    work.iter().for_each(|(entry, ..)| entry.changed());
    Ok(())
}

impl Optimizer {
    /// Creates an optimiser without history for `parameters`.
    pub fn new(config: &OptimizerConfig, parameters: &Parameters) -> Result<Self> {
        let groups = &config.groups;
        let top = parameters
            .iter()
            .map(|entry| entry.stage)
            .max()
            .unwrap_or(0);
        let member = |entry: &Parameter| -> Result<Option<Member>> {
            let rate = groups.factor(&entry.name, top - entry.stage);
            if entry.role != Role::Trainable || rate == 0.0 {
                return Ok(None);
            }
            let zero = || Ok(Var::from_tensor(&entry.var.as_tensor().zeros_like()?)?);
            // A layer scale counts as a vector even if its shape contains ones.
            let vector = entry.var.dims().iter().filter(|&&size| size > 1).count() <= 1;
            let spared = vector && !groups.decay_norms_and_biases;
            Ok(Some(Member {
                name: entry.name.clone(),
                slots: (config.kind.slots().iter())
                    .map(|_| zero())
                    .collect::<Result<_>>()?,
                rate,
                decay: if spared { 0.0 } else { 1.0 },
            }))
        };
        Ok(Optimizer {
            kind: config.kind.clone(),
            members: parameters.iter().map(member).collect::<Result<_>>()?,
            count: 0,
        })
    }

    /// Returns true if the parameter is trained.
    pub fn moves(&self, parameter: &Parameter) -> bool {
        let member = self.members.get(parameter.index);
        member.is_some_and(Option::is_some)
    }

    /// Updates every trained parameter that has a gradient. `rate` is the learning rate before the
    /// factors of the groups, and `factor` is applied to the gradients
    /// ([`super::clip::clip_factor`]).
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
        factor: f64,
    ) -> Result<()> {
        self.count += 1;
        let work: Vec<(&Parameter, &Member, &Lazy)> = (parameters.iter().zip(&self.members))
            .filter_map(|(entry, member)| Some((entry, member.as_ref()?, gradients.get(entry)?)))
            .collect();
        if let Some((first, ..)) = work.first()
            && graph::on_device(first.var.as_tensor())
            && let Some(rule) = self.kind.rule(self.count)
        {
            return update_on_device(&rule, &work, rate, factor);
        }
        let update = |(entry, member, gradient): &(&Parameter, &Member, &Lazy)| {
            let step = Step {
                count: self.count,
                rate: rate * member.rate,
                decay: member.decay,
                factor,
            };
            self.update(&step, entry, member, gradient)
        };
        match work.first() {
            Some((first, ..)) => graph::for_each(&work, first.var.device(), update),
            None => Ok(()),
        }
    }

    fn update(
        &self,
        step: &Step,
        entry: &Parameter,
        member: &Member,
        gradient: &Lazy,
    ) -> Result<()> {
        let parameter = &entry.var;
        let changed: Vec<&Var> = [parameter].into_iter().chain(&member.slots).collect();
        let pass = |values: &mut [&mut [f32]], gradient: &[f32]| {
            if let Some((parameter, slots)) = values.split_first_mut() {
                self.kind.scalars(step, parameter, slots, gradient);
            }
        };
        graph::change(&changed, gradient, &pass, || {
            let slots: Vec<&Tensor> = member.slots.iter().map(|slot| slot.as_tensor()).collect();
            let (new, fall) = self
                .kind
                .tensors(step, parameter, &slots, &gradient.tensor()?)?;
            let parameter = (parameter.as_tensor() - fall)?;
            Ok([parameter].into_iter().chain(new).collect())
        })?;
        entry.changed();
        Ok(())
    }

    /// Returns the state of the optimiser for a checkpoint: `<slot>.<parameter>` and the tensor.
    pub fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.members.iter().flatten().flat_map(|member| {
            (self.kind.slots().iter().zip(&member.slots))
                .map(|(slot, var)| (format!("{slot}.{}", member.name), var.as_tensor()))
        })
    }

    /// Restores the state after `count` updates, as returned by [`state`](Self::state); `find`
    /// returns a tensor by name.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn restore<'t>(
        &mut self,
        count: u64,
        find: impl Fn(&str) -> Option<&'t Tensor>,
    ) -> Result<()> {
        self.count = count;
        for member in self.members.iter().flatten() {
            for (slot, var) in self.kind.slots().iter().zip(&member.slots) {
                let name = format!("{slot}.{}", member.name);
                match find(&name) {
                    Some(tensor) if tensor.shape() == var.shape() => {
                        var.set(&tensor.to_device(var.device())?.contiguous()?)?;
                    }
                    Some(_) => {
                        return Err(Error::input(name, "has another shape than its parameter"));
                    }
                    None => return Err(Error::input(name, "is missing")),
                }
            }
        }
        Ok(())
    }
}
