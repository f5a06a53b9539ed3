//! Adapters: a few new parameters that are trained in the blocks of a vision transformer while its
//! published ones stay fixed.
//!
//! An adapter consists of its keys and the way it modifies a network ([`Adapter`]). All are listed
//! in one table below, which drives `[model.adapter] kind` in TOML and the tests.

mod config;
mod interface;

pub use config::AdapterConfig;
pub use interface::Adapter;

/// Declares the modules of the adapters, and the enum of all kinds.
macro_rules! adapters {
    ($($file:ident::$Rule:ident),+ $(,)?) => {
        $(pub mod $file; pub use $file::$Rule;)+

        crate::layers::kinds! {
            /// An adapter of any kind, with its own keys.
            $($Rule: <$Rule as Adapter>::NAME),+
        }

        impl Kind {
            /// See [`Adapter::check`].
            pub fn check(&self, at: &crate::error::KeyPath) -> crate::error::Result<()> {
                match self { $(Kind::$Rule(rule) => rule.check(at)),+ }
            }

            /// See [`Adapter::adapt`].
            pub(super) fn adapt(
                &self,
                architecture: super::architecture::Architecture,
                first: usize,
            ) -> super::architecture::Architecture {
                match self { $(Kind::$Rule(rule) => rule.adapt(architecture, first)),+ }
            }
        }

        /// Returns whether a parameter of this name belongs to an adapter.
        pub(crate) fn owns(name: &str) -> bool {
            let parts = [$(<$Rule as Adapter>::PARTS),+];
            let mut parts = parts.into_iter().flatten();
            parts.any(|part| name.split('.').any(|other| other == *part))
        }
    };
}

// To add an adapter, write its file and name it here. The first is the default.
adapters! {
    lora::Lora,
    adaptformer::AdaptFormer,
}

pub use lora::LinearLayer;

#[cfg(test)]
mod tests;
