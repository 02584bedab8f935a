//! The clock of deadlines: a thread that advances the engine's epoch while models run.
//!
//! Guest code compares the epoch at every loop and function entry, and when it has advanced, the host
//! compares the clock with the deadline of the call. The thread ticks only while calls run or have just run; after [`IDLE_TICKS`] without one it parks, so
//! that an idle device is not woken. Invariant: while a [`Running`] guard lives, the epoch advances.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Ticks without a call after which the thread parks: waking it costs a call some microseconds, so
/// that a model that is called more often than this never pays them.
const IDLE_TICKS: u32 = 100;

/// The thread; it stops when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    running: AtomicU64,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    /// Starts the thread, which calls `advance` once a tick.
    pub(crate) fn start(tick: Duration, advance: impl Fn() + Send + 'static) -> io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("dunlin-epoch".into()).spawn(move || theirs.run(tick, &advance))?;
        Ok(Ticker { shared, thread: Some(thread) })
    }

    /// Says that guest code runs until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        // In this order, and the thread the other way round: at least one of the two sees the other.
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.unpark();
        }
        Running(&self.shared)
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it sleeps and adds. If it did, there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// Guest code runs as long as this lives.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    fn run(&self, tick: Duration, advance: &dyn Fn()) {
        let mut idle_ticks = 0;
        while !self.stop.load(SeqCst) {
            // A tick may come early or late: it says when to look at the clock, not what time it is.
            thread::park_timeout(tick);
            advance();
            idle_ticks = if self.running.load(SeqCst) > 0 { 0 } else { idle_ticks + 1 };
            if idle_ticks >= IDLE_TICKS {
                self.parked.store(true, SeqCst);
                while self.running.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
                    thread::park();
                }
                self.parked.store(false, SeqCst);
                idle_ticks = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn it_parks_when_idle_and_wakes_for_a_call() {
        let (sender, ticks) = mpsc::channel();
        let ticker = Ticker::start(Duration::from_micros(100), move || {
            let _ = sender.send(());
        })
        .unwrap();
        let patience = Duration::from_secs(20);
        for _ in 0..IDLE_TICKS {
            ticks.recv_timeout(patience).unwrap();
        }
        // Nothing runs: after its last idle tick the thread parks and ticks no more.
        while !ticker.shared.parked.load(SeqCst) {
            thread::yield_now();
        }
        assert!(ticks.try_iter().count() < IDLE_TICKS as usize);
        let guard = ticker.running();
        for _ in 0..2 * IDLE_TICKS {
            ticks.recv_timeout(patience).unwrap();
        }
        drop(guard);
        drop(ticker);
        while ticks.try_recv().is_ok() {}
        assert_eq!(ticks.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the thread still lives");
    }
}
