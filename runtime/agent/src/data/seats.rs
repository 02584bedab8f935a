//! Threads of the local API that are in calls of models, and what is done when one stays there.
//!
//! A quick model is called where its request was read, and no promise is made that the next call is quick
//! too. While it lasts, its thread reads no other request; and none of the others does, because the thread that
//! waits for the sockets is the one that got the request, and tokio wakes no other for a single task. So:
//!
//! - One thread never enters a call: [`API_THREADS`] less one may be in calls at a time.
//! - A thread of its own, the *watch*, wakes another thread of the API when one has been in a call for
//!   [`LONG`]. That one then waits for the sockets.
//!
//! The watch costs a quick call nothing while calls follow each other; it parks after [`IDLE`] without one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;

use super::message::DataError;
use super::plane::spawn;

/// Threads of the local API.
pub(crate) const API_THREADS: usize = 3;

/// A call that lasts for one to two of these is long.
const LONG: Duration = Duration::from_millis(5);

/// Looks without a call after which the watch parks.
const IDLE: u32 = 200;

/// The threads that may be in calls. Clones count the same ones; the watch ends with the last of them.
#[derive(Clone)]
pub(super) struct Seats(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The number of the call that each seat is taken for, 0 if it is free.
    seats: [AtomicU64; API_THREADS - 1],
    calls: AtomicU64,
    is_parked: AtomicBool,
    watch: OnceLock<Thread>,
    runtime: OnceLock<Handle>,
}

/// A thread that is in a call, until this is dropped.
pub(super) struct Seat<'a>(&'a AtomicU64);

impl Seats {
    /// All seats, free, and the watch.
    pub(super) fn start() -> Result<Seats, DataError> {
        let inner = Arc::new(Inner::default());
        let weak = Arc::downgrade(&inner);
        let thread = spawn("api-watch", move || watch(&weak))?;
        // Set once, here.
        let _ = inner.watch.set(thread.thread().clone());
        Ok(Seats(inner))
    }

    /// Lets the current thread of the API into a call, if enough others are left.
    pub(super) fn take(&self) -> Option<Seat<'_>> {
        let inner = &*self.0;
        if inner.runtime.get().is_none() {
            // Two threads may set it at once, to the same.
            let _ = inner.runtime.set(Handle::try_current().ok()?);
        }
        let call = inner.calls.fetch_add(1, Relaxed) + 1;
        let seat = inner.seats.iter().find(|seat| seat.compare_exchange(0, call, SeqCst, Relaxed).is_ok())?;
        // In this order, and the watch the other way round: at least one of the two sees the other.
        if inner.is_parked.load(SeqCst)
            && let Some(watch) = inner.watch.get()
        {
            watch.unpark();
        }
        Some(Seat(seat))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.store(0, SeqCst);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.unpark();
        }
    }
}

impl Inner {
    fn taken(&self) -> [u64; API_THREADS - 1] {
        self.seats.each_ref().map(|seat| seat.load(SeqCst))
    }
}

/// The watch.
fn watch(seats: &Weak<Inner>) {
    let (mut before, mut relieved) = ([0; API_THREADS - 1], [0; API_THREADS - 1]);
    let mut idle = 0;
    loop {
        let Some(inner) = seats.upgrade() else { return };
        let now = inner.taken();
        for ((call, before), relieved) in now.into_iter().zip(before).zip(&mut relieved) {
            if call != 0
                && call == before
                && call != *relieved
                && let Some(runtime) = inner.runtime.get()
            {
                // A task from outside wakes a thread that is free.
                runtime.spawn(async {});
                *relieved = call;
            }
        }
        before = now;
        idle = if now == [0; API_THREADS - 1] { idle + 1 } else { 0 };
        let mut parks = false;
        if idle >= IDLE {
            inner.is_parked.store(true, SeqCst);
            parks = inner.taken() == [0; API_THREADS - 1];
        }
        // Not while it waits: it must not keep them.
        drop(inner);
        if parks {
            std::thread::park();
        } else {
            std::thread::park_timeout(LONG);
        }
        if idle >= IDLE {
            idle = 0;
            if let Some(inner) = seats.upgrade() {
                inner.is_parked.store(false, SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_always_left() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let seats = Seats::start().unwrap();
        let mut taken: Vec<Seat<'_>> = std::iter::from_fn(|| seats.take()).collect();
        assert_eq!(taken.len(), API_THREADS - 1);
        taken.pop();
        assert!(seats.take().is_some());
    }

    #[test]
    fn long_call_wakes_another_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(API_THREADS)
            .enable_all()
            .build()
            .unwrap();
        let seats = Seats::start().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        // Every connection holds its thread until the test ends, as long as it gets a seat.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let server = seats.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (seats, held) = (server.clone(), held.clone());
                tokio::spawn(async move {
                    stream.writable().await.unwrap();
                    match seats.take() {
                        Some(_seat) => drop(held.lock().unwrap().recv()),
                        None => drop(stream.try_write(b"!").unwrap()),
                    }
                });
            }
        });
        let _stuck: Vec<_> =
            (1..API_THREADS).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        while seats.0.taken().contains(&0) {
            std::thread::yield_now();
        }
        let mut other = std::net::TcpStream::connect(address).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        std::io::Read::read_exact(&mut other, &mut [0]).unwrap();
        drop(release);
    }
}
