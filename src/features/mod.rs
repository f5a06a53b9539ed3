//! Features of pictures that are computed once, by a frozen backbone or by another program.
//!
//! The output of a frozen backbone for the pictures of a split is kept in one file per set, named
//! by the hash of everything it depends on ([`Key`]). Files are written atomically, verified when
//! they are opened, and memory-mapped, so that all runs on a machine share one copy. A file that is
//! damaged or does not match is reported and recomputed.

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
