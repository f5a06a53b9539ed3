//! SIGINT and SIGTERM: the first asks long work to save and leave, the second ends it at once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts listening. Calling it again changes nothing.
pub fn listen() -> Result<()> {
    if REQUESTED.get().is_some() {
        return Ok(());
    }
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Order matters: the second signal finds the flag set and ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// True once a signal came.
pub fn requested() -> bool {
    REQUESTED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error once a signal came; `what` says what is left undone.
pub fn check(what: &str) -> Result<()> {
    match requested() {
        true => Err(Error::Interrupted(what.to_owned())),
        false => Ok(()),
    }
}
