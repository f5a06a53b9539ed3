//! Features of pictures, computed once: by a backbone that does not learn, or by another program.
//!
//! What a fixed backbone makes of a split's pictures lies in one file a set, named by the hash of
//! everything that it depends on ([`Key`]). Files are written whole, checked when they are opened,
//! and mapped: all runs of a machine share one copy. A file that is damaged, or of something else,
//! is told of and made anew.

mod extract;
mod file;
pub mod given;
mod inputs;
mod key;
mod store;
mod table;

pub use inputs::FeatureInputs;
pub use key::{Key, Shown};
pub use store::Store;
pub use table::FeatureTable;
