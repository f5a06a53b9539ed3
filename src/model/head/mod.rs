//! Heads: from features to one logit per class.
//!
//! A head consists of its settings ([`Settings`]) and the classifier built from them ([`Head`]).
//! All are listed in one table below, which drives `[model.head] kind` in TOML, the pages in
//! `docs/heads` and the tests.

mod class_vectors;
mod config;
mod interface;
pub mod pages;
mod parts;
mod word_vectors;

pub use config::HeadConfig;
pub use interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};

/// Declares the modules of the heads, and the enum of the settings of all kinds.
macro_rules! heads {
    ($($file:ident::$Settings:ident),+ $(,)?) => {
        $(pub mod $file; pub use $file::$Settings;)+

        crate::layers::kinds! {
            /// The settings of any head.
            $($Settings: $file::DEFINITION.name),+
        }

        impl Kind {
            /// The definitions of all heads, in the order of every list; the first is the default.
            pub const DEFINITIONS: &'static [&'static Definition] = &[$(&$file::DEFINITION),+];

            /// Returns its definition.
            pub fn definition(&self) -> &'static Definition {
                match self { $(Kind::$Settings(_) => &$file::DEFINITION),+ }
            }

            /// Returns the settings through their common interface.
            pub fn settings(&self) -> &dyn Settings {
                match self { $(Kind::$Settings(own) => own),+ }
            }

            /// Returns the settings mutably through their common interface.
            pub fn settings_mut(&mut self) -> &mut dyn Settings {
                match self { $(Kind::$Settings(own) => own),+ }
            }
        }
    };
}

// To add a head, write its file and name it here. The first is the default.
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
