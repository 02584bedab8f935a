//! A bounded queue, and the servers of what waits in it.
//!
//! Giving never waits: what does not fit is handed back. An item goes to a thread that takes it together with
//! a free server; or, where nothing waits and a server is free, whoever brings an item may have the server lent
//! and serve it on the spot, without the wake-up of a thread. So the order is kept: nobody is served past
//! those who wait.
//!
//! After [`Queue::close`] nothing more is taken in, and what waits is still given out. When the last taker or
//! the last server is gone, also by a panic, the queue closes and drops what waits, so that nobody waits for an
//! answer that cannot come.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The end that gives. Clones give to the same takers.
pub(super) struct Queue<T, S>(Arc<Inner<T, S>>);

/// An end that takes.
pub(super) struct Taker<T, S>(Arc<Inner<T, S>>);

/// A server in somebody's hands; it is free again when this is dropped. One that is dropped by a panic is not
/// used again.
pub(super) struct Lent<T, S> {
    of: Arc<Inner<T, S>>,
    server: Arc<Mutex<S>>,
}

struct Inner<T, S> {
    state: Mutex<State<T, S>>,
    came: Condvar,
    most: usize,
}

struct State<T, S> {
    waiting: VecDeque<T>,
    /// The servers that nobody has. Each is locked by whom it is lent to, and by nobody else.
    free: Vec<Arc<Mutex<S>>>,
    /// How many servers there are, free or lent.
    servers: usize,
    takers: usize,
    closed: bool,
}

/// What was not taken in, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused<T> {
    /// As many wait as may.
    Full(T),
    /// The queue was closed.
    Closed(T),
}

/// What a taker gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    /// The oldest that waited.
    Item(T),
    /// Nothing came in time.
    Nothing,
    /// The queue is closed and empty.
    End,
}

impl<T, S> Inner<T, S> {
    /// Counts are whole at every moment, so that a panic of another thread does not spoil them.
    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, S> State<T, S> {
    /// Closes where nobody is left to serve, and gives what waited in vain.
    fn abandon(&mut self) -> VecDeque<T> {
        if self.takers > 0 && self.servers > 0 {
            return VecDeque::new();
        }
        self.closed = true;
        std::mem::take(&mut self.waiting)
    }
}

impl<T, S> Queue<T, S> {
    /// A queue in which at most `most` wait, at least one; its servers, and a taker for each.
    pub(super) fn new(most: usize, servers: Vec<S>) -> (Queue<T, S>, Vec<Taker<T, S>>) {
        let count = servers.len();
        let (waiting, free) =
            (VecDeque::new(), servers.into_iter().map(|server| Arc::new(Mutex::new(server))).collect());
        let state = State { waiting, free, servers: count, takers: count, closed: false };
        let inner = Arc::new(Inner { state: Mutex::new(state), came: Condvar::new(), most: most.max(1) });
        let takers = (0..count).map(|_| Taker(inner.clone())).collect();
        (Queue(inner), takers)
    }

    /// Gives to whichever taker is free first.
    pub(super) fn give(&self, item: T) -> Result<(), Refused<T>> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Refused::Closed(item));
        }
        if state.waiting.len() >= self.0.most {
            return Err(Refused::Full(item));
        }
        state.waiting.push_back(item);
        drop(state);
        self.0.came.notify_one();
        Ok(())
    }

    /// A server, where one is free and nobody waits for it.
    pub(super) fn lend(&self) -> Option<Lent<T, S>> {
        let mut state = self.0.lock();
        if state.closed || !state.waiting.is_empty() {
            return None;
        }
        let server = state.free.pop()?;
        Some(Lent { of: self.0.clone(), server })
    }

    /// Takes in no more.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
        self.0.came.notify_all();
    }
}

impl<T, S> Taker<T, S> {
    /// A server for good, whether something waits or not.
    pub(super) fn keep(&self) -> Option<Lent<T, S>> {
        let server = self.0.lock().free.pop()?;
        Some(Lent { of: self.0.clone(), server })
    }

    /// The next item, and a server for it. Waits for as long as it takes; `None` when the queue is closed and
    /// empty.
    pub(super) fn next(&self) -> Option<(T, Lent<T, S>)> {
        let mut state = self.0.lock();
        loop {
            let ready = !state.waiting.is_empty() && !state.free.is_empty();
            if ready && let (Some(item), Some(server)) = (state.waiting.pop_front(), state.free.pop()) {
                return Some((item, Lent { of: self.0.clone(), server }));
            }
            if state.waiting.is_empty() && state.closed {
                return None;
            }
            state = self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item, for a taker that keeps its server; waits at most `patience`, or for as long as it takes.
    pub(super) fn take(&self, patience: Option<Duration>) -> Taken<T> {
        let idle = |state: &mut State<T, S>| state.waiting.is_empty() && !state.closed;
        let state = self.0.lock();
        let mut state = match patience {
            None => self.0.came.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.0.came.wait_timeout_while(state, patience, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        match state.waiting.pop_front() {
            Some(item) => Taken::Item(item),
            None if state.closed => Taken::End,
            None => Taken::Nothing,
        }
    }
}

impl<T, S> Drop for Taker<T, S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.takers = state.takers.saturating_sub(1);
        let lost = state.abandon();
        drop(state);
        drop(lost);
    }
}

impl<T, S> Lent<T, S> {
    /// The server itself. Whose holder panicked is never lent again, so this one is whole.
    pub(super) fn get(&self) -> MutexGuard<'_, S> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, S> Drop for Lent<T, S> {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        if std::thread::panicking() {
            state.servers = state.servers.saturating_sub(1);
            let lost = state.abandon();
            drop(state);
            drop(lost);
            return self.of.came.notify_all();
        }
        state.free.push(self.server.clone());
        let (wanted, closed) = (!state.waiting.is_empty(), state.closed);
        drop(state);
        // In a closed queue, takers may be waiting for a server alone: the last item went to one of them.
        if closed {
            self.of.came.notify_all();
        } else if wanted {
            self.of.came.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_millis(1));

    /// Servers that do nothing.
    fn queue<T>(most: usize, servers: usize) -> (Queue<T, ()>, Vec<Taker<T, ()>>) {
        Queue::new(most, vec![(); servers])
    }

    #[test]
    fn what_is_given_comes_out_in_order_and_no_more_than_may_wait() {
        let (queue, takers) = queue(2, 1);
        assert_eq!(takers[0].take(SOON), Taken::Nothing);
        assert_eq!((queue.give(1), queue.give(2)), (Ok(()), Ok(())));
        assert_eq!(queue.give(3), Err(Refused::Full(3)));
        assert_eq!(takers[0].take(None), Taken::Item(1));
        queue.close();
        assert_eq!(queue.give(4), Err(Refused::Closed(4)));
        assert_eq!((takers[0].take(None), takers[0].take(None)), (Taken::Item(2), Taken::End));
    }

    #[test]
    fn every_item_goes_to_one_taker() {
        let (queue, takers) = queue(1000, 4);
        let threads: Vec<_> = takers
            .into_iter()
            .map(|taker| {
                std::thread::spawn(move || {
                    let mut sum = 0u64;
                    while let Some((item, _server)) = taker.next() {
                        sum += item;
                    }
                    sum
                })
            })
            .collect();
        (1..=1000).for_each(|item| queue.give(item).unwrap());
        queue.close();
        let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 500_500);
    }

    #[test]
    fn what_waits_is_dropped_with_the_last_taker() {
        let (queue, mut takers) = queue(8, 2);
        let item = Arc::new(());
        queue.give(item.clone()).unwrap();
        takers.pop();
        assert_eq!(Arc::strong_count(&item), 2);
        takers.pop();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(matches!(queue.give(item), Err(Refused::Closed(_))));
    }

    #[test]
    fn a_server_is_lent_where_it_is_free_and_nobody_waits() {
        let (queue, takers) = Queue::new(8, vec![10, 20]);
        let (one, two) = (queue.lend().unwrap(), queue.lend().unwrap());
        assert_eq!(*one.get() + *two.get(), 30);
        assert!(queue.lend().is_none(), "both are lent");
        queue.give("waits").unwrap();
        drop(one);
        assert!(queue.lend().is_none(), "somebody waits, who came first");
        let (item, server) = takers[0].next().unwrap();
        assert_eq!(item, "waits");
        drop((two, server));
        assert!(queue.lend().is_some());
        queue.close();
        assert!(queue.lend().is_none(), "closed");
        assert!(takers[0].next().is_none());
    }

    #[test]
    fn who_waits_is_served_when_the_lent_server_comes_back() {
        let (queue, mut takers) = queue(8, 1);
        let lent = queue.lend().unwrap();
        let taker = takers.remove(0);
        let thread = std::thread::spawn(move || taker.next().map(|(item, _)| item));
        queue.give(5).unwrap();
        drop(lent);
        assert_eq!(thread.join().unwrap(), Some(5));
    }

    #[test]
    fn takers_that_wait_for_a_server_end_with_a_closed_queue() {
        let (queue, takers) = queue(8, 2);
        let both = [queue.lend().unwrap(), queue.lend().unwrap()];
        queue.give(5).unwrap();
        let (ended, ends) = std::sync::mpsc::channel();
        for taker in takers {
            let ended = ended.clone();
            std::thread::spawn(move || {
                while taker.next().is_some() {}
                ended.send(()).unwrap();
            });
        }
        // Long enough for both to wait for a server; they do not have to.
        std::thread::sleep(Duration::from_millis(50));
        queue.close();
        std::thread::sleep(Duration::from_millis(50));
        drop(both);
        for _ in 0..2 {
            ends.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }

    #[test]
    fn a_server_that_is_kept_is_never_lent() {
        let (queue, takers) = queue::<()>(8, 1);
        let kept = takers[0].keep().unwrap();
        assert!(queue.lend().is_none());
        assert!(takers[0].keep().is_none());
        drop(kept);
        assert!(queue.lend().is_some());
    }

    #[test]
    fn a_server_that_panics_is_not_used_again_and_with_the_last_one_the_queue_ends() {
        let (queue, takers) = queue(8, 2);
        let both = [queue.lend().unwrap(), queue.lend().unwrap()];
        for (lent, last) in both.into_iter().zip([false, true]) {
            let thread = std::thread::spawn(move || {
                let _in_use = &lent;
                panic!("on purpose")
            });
            assert!(thread.join().is_err());
            assert_eq!(queue.give(1) == Err(Refused::Closed(1)), last);
        }
        assert!(takers[0].next().is_none(), "what waited is dropped");
    }
}
