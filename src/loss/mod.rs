//! Losses for long-tailed multi-label classification.
//!
//! Most are element-wise and composed of the same few parts ([`composition`]); a named loss is a
//! preset of parts. The others implement [`Loss`] themselves. All are listed in one table below,
//! which drives parsing, `dbloss loss list`, the documentation pages and the tests.

mod batch;
pub mod chance;
pub mod composition;
pub mod config;
pub mod definition;
pub mod dual;
pub mod elementwise;
pub mod frequency;
pub mod graph;
pub mod kernel;
mod objective;
pub mod pages;
pub mod part;
pub mod profile;
pub mod size;
mod smoothing;
pub mod weight;

pub use batch::Batch;
pub use chance::chance_loss;
pub use config::{LossConfig, build};
pub use definition::{Definition, Form};
pub use elementwise::Elementwise;
pub use graph::apply;
pub use objective::Loss;
pub use size::{StartGradient, start_gradient};
pub use smoothing::smooth;

/// Declares the loss modules and collects their definitions, in the order of every list.
macro_rules! losses {
    ($($file:ident),+ $(,)?) => {
        $(pub mod $file;)+
        /// Returns the definitions of all named losses.
        pub fn definitions() -> Vec<&'static Definition> {
            [$($file::DEFINITIONS),+].into_iter().flatten().collect()
        }
    };
}

// To add a loss, write its file and name it here.
losses! {
    bce,
    reweighted,
    focal,
    class_balanced,
    rebalanced,
    tolerant,
    distribution_balanced,
    ldam,
    logit_adjusted,
    asymmetric,
    hill,
    splc,
    two_way,
    zlpr,
}

/// Returns the names of all named losses, in the order of every list; `composed` is not among them.
pub fn names() -> Vec<&'static str> {
    definitions().iter().map(|loss| loss.name).collect()
}

/// Returns the definition of the loss `name`, or `None` if there is no such loss.
pub fn definition(name: &str) -> Option<&'static Definition> {
    definitions().into_iter().find(|loss| loss.name == name)
}

#[cfg(test)]
mod tests;
