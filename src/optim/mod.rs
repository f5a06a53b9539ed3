//! Optimisers, gradient clipping, and schedules as pure functions of the step.
//!
//! An optimiser consists of its keys and the way it updates one parameter ([`Update`]). All are
//! listed in one table below, which drives `kind` in TOML, checkpoints and the tests.

pub mod average;
pub mod clip;
pub mod config;
pub mod extent;
pub mod optimizer;
pub mod schedule;
pub mod update;

pub use average::Average;
pub use clip::gradient_norm;
pub use config::{Groups, OptimizerConfig};
pub use extent::Extent;
pub use optimizer::Optimizer;
pub use schedule::Schedule;
pub use update::{Step, Update};

/// Declares the modules of the optimisers, and the enum of all kinds.
macro_rules! optimizers {
    ($($file:ident::$Rule:ident),+ $(,)?) => {
        $(pub mod $file; pub use $file::$Rule;)+

        crate::layers::kinds! {
            /// An optimiser of any kind, with its own keys.
            $($Rule: <$Rule as Update>::NAME),+
        }

        impl Kind {
            /// Returns its default learning rate.
            pub fn learning_rate(&self) -> f64 {
                match self { $(Kind::$Rule(_) => <$Rule as Update>::LEARNING_RATE),+ }
            }

            /// Returns the names of the tensors that it keeps for each parameter.
            pub fn slots(&self) -> &'static [&'static str] {
                match self { $(Kind::$Rule(_) => <$Rule as Update>::SLOTS),+ }
            }

            /// See [`Update::check`].
            pub fn check(&self, at: &crate::error::KeyPath) -> crate::error::Result<()> {
                match self { $(Kind::$Rule(rule) => rule.check(at)),+ }
            }

            /// See [`Update::scalars`].
            pub fn scalars(
                &self,
                step: &Step,
                parameter: &mut [f32],
                slots: &mut [&mut [f32]],
                gradient: &[f32],
            ) {
                match self { $(Kind::$Rule(rule) => rule.scalars(step, parameter, slots, gradient)),+ }
            }

            /// See [`Update::rule`].
            pub fn rule(&self, count: u64) -> Option<crate::ops::cuda::step::Rule> {
                match self { $(Kind::$Rule(rule) => rule.rule(count)),+ }
            }

            /// See [`Update::tensors`].
            pub fn tensors(
                &self,
                step: &Step,
                parameter: &candle_core::Tensor,
                slots: &[&candle_core::Tensor],
                gradient: &candle_core::Tensor,
            ) -> crate::error::Result<(Vec<candle_core::Tensor>, candle_core::Tensor)> {
                match self { $(Kind::$Rule(rule) => rule.tensors(step, parameter, slots, gradient)),+ }
            }
        }
    };
}

// To add an optimiser, write its file and name it here. The first is the default.
optimizers! {
    sgd::Sgd,
    adamw::AdamW,
}

#[cfg(test)]
mod tests;
