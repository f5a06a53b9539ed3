//! The batches of an epoch in order, made by the caller or ahead of time by worker threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::batch::Batch;
use super::lock::lock;
use super::work::Work;
use crate::data::augment::Transformer;
use crate::error::{Error, Result};

/// The batches of one epoch, see [`Loader::epoch`](super::Loader::epoch).
pub struct Epoch {
    work: Arc<Work>,
    /// The next batch to return.
    next: usize,
    maker: Maker,
}

enum Maker {
    Inline(Box<Transformer>),
    Threads {
        queue: Arc<Queue>,
        threads: Vec<JoinHandle<()>>,
    },
}

struct Queue {
    state: Mutex<State>,
    /// A batch was finished.
    finished: Condvar,
    /// A batch was taken out, or the epoch was dropped.
    taken: Condvar,
}

struct State {
    /// The next batch that no worker has started.
    unclaimed: usize,
    /// Batches before this one may be started.
    limit: usize,
    ready: BTreeMap<usize, Result<Batch>>,
    stop: bool,
}

impl Epoch {
    pub(super) fn new(work: Arc<Work>, start: usize, workers: usize) -> Self {
        let left = work.num_batches.saturating_sub(start);
        let workers = workers.min(left);
        let inline = |work: &Work| {
            let transformer = Transformer::new(&work.shared.config);
            Maker::Inline(Box::new(transformer))
        };
        if workers == 0 {
            let maker = inline(&work);
            return Epoch {
                work,
                next: start,
                maker,
            };
        }
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                unclaimed: start,
                limit: start.saturating_add(work.shared.options.prefetch),
                ready: BTreeMap::new(),
                stop: false,
            }),
            finished: Condvar::new(),
            taken: Condvar::new(),
        });
        let threads: Vec<_> = (0..workers)
            .map_while(|worker| {
                let (work, queue) = (work.clone(), queue.clone());
                std::thread::Builder::new()
                    .name(format!("loader-{worker}"))
                    .spawn(move || run_worker(&work, &queue))
                    .ok()
            })
            .collect();
        let maker = if threads.is_empty() {
            // The system refused to start threads: slower, but the result is the same.
            inline(&work)
        } else {
            Maker::Threads { queue, threads }
        };
        Epoch {
            work,
            next: start,
            maker,
        }
    }

    /// Returns the number of batches still to come, unless one is an error or is left out.
    pub fn remaining(&self) -> usize {
        self.work.num_batches.saturating_sub(self.next)
    }
}

fn run_worker(work: &Work, queue: &Queue) {
    let mut transformer = Transformer::new(&work.shared.config);
    loop {
        let batch = {
            let mut state = lock(&queue.state);
            while !state.stop && state.unclaimed >= state.limit {
                state = (queue.taken.wait(state)).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop || state.unclaimed >= work.num_batches {
                return;
            }
            state.unclaimed += 1;
            state.unclaimed - 1
        };
        // The consumer is waiting for this batch, so a panic must be reported to it.
        let made = catch_unwind(AssertUnwindSafe(|| work.make(batch, &mut transformer)))
            .unwrap_or_else(|_| {
                let message = format!("the loader failed on batch {batch}");
                Err(Error::Io(std::io::Error::other(message)))
            });
        lock(&queue.state).ready.insert(batch, made);
        queue.finished.notify_all();
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.work.num_batches {
            let batch = self.next;
            self.next += 1;
            let made = match &mut self.maker {
                Maker::Inline(transformer) => self.work.make(batch, transformer),
                Maker::Threads { queue, .. } => {
                    let mut state = lock(&queue.state);
                    let made = loop {
                        match state.ready.remove(&batch) {
                            Some(made) => break made,
                            None => {
                                state = (queue.finished.wait(state))
                                    .unwrap_or_else(PoisonError::into_inner);
                            }
                        }
                    };
                    state.limit += 1;
                    drop(state);
                    queue.taken.notify_one();
                    made
                }
            };
            match made {
                Ok(batch) if batch.num_images == 0 => {}
                Ok(batch) => return Some(Ok(batch)),
                Err(error) => {
                    self.next = self.work.num_batches;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        if let Maker::Threads { queue, threads } = &mut self.maker {
            lock(&queue.state).stop = true;
            queue.taken.notify_all();
            for thread in threads.drain(..) {
                // Panics have already been caught.
                let _ = thread.join();
            }
        }
    }
}
