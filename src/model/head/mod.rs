//! Heads: from features to a logit a class.
//!
//! A head is its settings ([`Settings`]) and the classifier that they make ([`Head`]). All are
//! listed in one table below: it drives `[model.head] kind` in TOML, the pages under `docs/heads`
//! and the tests.

mod class_vectors;
mod config;
mod interface;
pub mod pages;
mod parts;
mod word_vectors;

pub use config::HeadConfig;
pub use interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};

/// Declares the files of the heads and the type of the settings of any of them.
macro_rules! heads {
    ($($file:ident::$Settings:ident),+ $(,)?) => {
        $(pub mod $file; pub use $file::$Settings;)+

        crate::layers::kinds! {
            /// The settings of any head.
            $($Settings: $file::DEFINITION.name),+
        }

        impl Kind {
            /// What is known about each head, in the order of every list; the first is the default.
            pub const DEFINITIONS: &'static [&'static Definition] = &[$(&$file::DEFINITION),+];

            /// What is known about it.
            pub fn definition(&self) -> &'static Definition {
                match self { $(Kind::$Settings(_) => &$file::DEFINITION),+ }
            }

            /// As what all heads have in common.
            pub fn settings(&self) -> &dyn Settings {
                match self { $(Kind::$Settings(own) => own),+ }
            }

            /// As what all heads have in common, to be changed.
            pub fn settings_mut(&mut self) -> &mut dyn Settings {
                match self { $(Kind::$Settings(own) => own),+ }
            }
        }
    };
}

// Adding a head: write its file and name it here. The first is the default.
heads! {
    linear::Linear,
    cosine::Cosine,
    norm_weight::NormWeight,
    csra::Csra,
    ml_decoder::MlDecoder,
    ml_gcn::MlGcn,
    oltr::Oltr,
}

#[cfg(test)]
mod tests;
