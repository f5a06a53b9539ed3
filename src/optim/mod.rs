//! Optimisers, clipping, and schedules as pure functions of the step.
//!
//! An optimiser is its keys and how it moves one parameter ([`Update`]). All are listed in one
//! table below: it drives `kind` in TOML, checkpoints and the tests.

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

/// Declares the files of the optimisers and the type of one of any kind.
macro_rules! optimizers {
    ($($file:ident::$Rule:ident),+ $(,)?) => {
        $(pub mod $file; pub use $file::$Rule;)+

        /// An optimiser of any kind, with the keys that are its own.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Kind { $($Rule($Rule)),+ }

        impl Kind {
            /// The kinds, the default first.
            pub const NAMES: &'static [&'static str] = &[$(<$Rule as Update>::NAME),+];

            /// The optimiser `name` with the `keys` of its own, those of the table at the key `at`
            /// that are not in `shared`; `None` if there is no such kind.
            pub fn read(
                name: &str,
                keys: &toml::Table,
                shared: &[&str],
                at: &crate::error::KeyPath,
            ) -> Option<crate::error::Result<Self>> {
                $(if name == <$Rule as Update>::NAME {
                    let read = crate::layers::read_table::<$Rule>(keys, at, shared);
                    return Some(read.map(Kind::$Rule));
                })+
                None
            }

            /// The keys that are its own.
            pub fn keys(&self) -> Result<toml::Table, toml::ser::Error> {
                match self { $(Kind::$Rule(rule) => toml::Table::try_from(rule)),+ }
            }

            /// Its name in TOML.
            pub fn name(&self) -> &'static str {
                match self { $(Kind::$Rule(_) => <$Rule as Update>::NAME),+ }
            }

            /// Its full learning rate where none is given.
            pub fn learning_rate(&self) -> f64 {
                match self { $(Kind::$Rule(_) => <$Rule as Update>::LEARNING_RATE),+ }
            }

            /// Names of the tensors that it keeps for each parameter.
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

            /// One of each kind with its defaults.
            pub fn defaults() -> Vec<Self> {
                vec![$(Kind::$Rule($Rule::default())),+]
            }
        }
    };
}

// Adding an optimiser: write its file and name it here. The first is the default.
optimizers! {
    sgd::Sgd,
    adamw::AdamW,
}

#[cfg(test)]
mod tests;
