//! The published optimiser: SGD with momentum, weight decay and gradient norm clipping, under a
//! schedule that is a pure function of the step.

pub mod clip;
pub mod extent;
pub mod schedule;
pub mod sgd;

pub use clip::gradient_norm;
pub use extent::Extent;
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdConfig};
