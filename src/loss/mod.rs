//! Losses for long-tailed multi-label classification.
//!
//! Most are element-wise and made of the same few parts ([`composition`]); a named loss is a
//! preset of parts. The others implement [`Loss`] themselves. All are listed in one table below:
//! it drives parsing, `dbloss loss list`, the documentation pages and the tests.

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

/// Declares the files of the losses and gathers what each defines, in the order of every list.
macro_rules! losses {
    ($($file:ident),+ $(,)?) => {
        $(pub mod $file;)+
        /// Every named loss.
        pub fn definitions() -> Vec<&'static Definition> {
            [$($file::DEFINITIONS),+].into_iter().flatten().collect()
        }
    };
}

// Adding a loss: write its file and name it here.
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

/// The names of all losses, in the order of every list; `composed` comes on top of these.
pub fn names() -> Vec<&'static str> {
    definitions().iter().map(|loss| loss.name).collect()
}

/// The definition of the loss `name`, unless there is none.
pub fn definition(name: &str) -> Option<&'static Definition> {
    definitions().into_iter().find(|loss| loss.name == name)
}

#[cfg(test)]
mod tests;
