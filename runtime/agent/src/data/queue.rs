//! A bounded queue with any number of takers.
//!
//! Giving never waits: what does not fit is handed back. After [`Queue::close`] nothing more is taken in,
//! and what waits is still given out. When the last taker is gone, also by a panic, the queue closes and
//! drops what waits, so that nobody waits for an answer that cannot come.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The end that gives. Clones give to the same takers.
pub(super) struct Queue<T>(Arc<Inner<T>>);

/// An end that takes.
pub(super) struct Taker<T>(Arc<Inner<T>>);

struct Inner<T> {
    state: Mutex<State<T>>,
    came: Condvar,
    most: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    takers: usize,
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

impl<T> Inner<T> {
    /// Counts are whole at every moment, so that a panic of another thread does not spoil them.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    /// A queue in which at most `most` wait, at least one, and its takers.
    pub(super) fn new(most: usize, takers: usize) -> (Queue<T>, Vec<Taker<T>>) {
        let state = State { waiting: VecDeque::new(), closed: false, takers };
        let inner = Arc::new(Inner { state: Mutex::new(state), came: Condvar::new(), most: most.max(1) });
        let takers = (0..takers).map(|_| Taker(inner.clone())).collect();
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

    /// Takes in no more.
    pub(super) fn close(&self) {
        self.0.lock().closed = true;
        self.0.came.notify_all();
    }
}

impl<T> Taker<T> {
    /// The next item; waits for it at most `patience`, or for as long as it takes.
    pub(super) fn take(&self, patience: Option<Duration>) -> Taken<T> {
        let idle = |state: &mut State<T>| state.waiting.is_empty() && !state.closed;
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

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.takers = state.takers.saturating_sub(1);
        if state.takers == 0 {
            state.closed = true;
            let lost = std::mem::take(&mut state.waiting);
            drop(state);
            drop(lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_millis(1));

    #[test]
    fn what_is_given_comes_out_in_order_and_no_more_than_may_wait() {
        let (queue, takers) = Queue::new(2, 1);
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
        let (queue, takers) = Queue::new(1000, 4);
        let threads: Vec<_> = takers
            .into_iter()
            .map(|taker| {
                std::thread::spawn(move || {
                    let mut sum = 0u64;
                    while let Taken::Item(item) = taker.take(None) {
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
        let (queue, mut takers) = Queue::new(8, 2);
        let item = Arc::new(());
        queue.give(item.clone()).unwrap();
        takers.pop();
        assert_eq!(Arc::strong_count(&item), 2);
        takers.pop();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(matches!(queue.give(item), Err(Refused::Closed(_))));
    }
}
