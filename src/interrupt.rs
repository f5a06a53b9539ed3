//! Signal handling. SIGINT and SIGTERM ask long work to save and exit; a second one ends it at
//! once. SIGUSR1 asks it to save and continue; under a batch system, which usually sends it before
//! the time limit, to save and exit.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

const ENDING: &[i32] = &[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

static SAVING: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the signal handlers. Further calls have no effect.
pub fn listen() -> Result<()> {
    install(true)
}

/// Like [`listen`], for a process that receives signals from a batch system: SIGUSR1 asks it to
/// exit, and no signal ends it at once, because Slurm repeats signals while the work is being
/// saved. Must be called before any [`listen`].
pub fn listen_patiently() -> Result<()> {
    install(false)
}

fn install(second_ends: bool) -> Result<()> {
    if REQUESTED.get().is_some() {
        return Ok(());
    }
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in ENDING {
        // The order matters: the second signal finds the flag set and ends the process.
        if second_ends {
            signal_hook::flag::register_conditional_shutdown(*signal, 130, Arc::clone(flag))?;
        }
        signal_hook::flag::register(*signal, Arc::clone(flag))?;
    }
    // However often the signal arrives.
    #[cfg(unix)]
    {
        let saving = SAVING.get_or_init(Arc::default);
        let asked = if second_ends { saving } else { flag };
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(asked))?;
    }
    Ok(())
}

/// Returns whether a signal asked the process to stop.
pub fn requested() -> bool {
    REQUESTED
        .get()
        .is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Returns whether a signal has asked to save and continue since the last call.
pub fn saving_requested() -> bool {
    SAVING
        .get()
        .is_some_and(|flag| flag.swap(false, Ordering::Relaxed))
}

/// Fails if a signal asked the process to stop; `what` says what is left undone.
pub fn check(what: &str) -> Result<()> {
    match requested() {
        true => Err(Error::Interrupted(what.to_owned())),
        false => Ok(()),
    }
}

/// Asks a child process to save and exit. On systems without signals it is killed, and loses the
/// work since its last checkpoint.
pub fn ask_to_stop(child: &mut std::process::Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            // It may have exited in the meantime.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    #[cfg(not(unix))]
    let _ = child.kill();
}

/// Asks this process to save and exit when its parent, the process `parent`, ends for any reason:
/// Linux sends a signal then. On other systems the process continues on its own.
pub fn follow_parent(parent: u32) -> Result<()> {
    listen()?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
        // The parent may have ended before the signal was requested.
        if getppid().is_none_or(|pid| pid.as_raw_pid() != parent.cast_signed()) {
            let problem = "the process that started this one is gone";
            return Err(Error::Interrupted(problem.to_owned()));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Ok(())
}
