//! The places of connections: bounded in number, and never held for long against a caller that is quicker.
//!
//! A connection is *busy* from the end of a request's headers to its answer, and *idle* otherwise: it has sent no
//! headers, a part of them, or waits for its next request. When every place is taken, a new connection takes that of
//! the connection that has been idle for longest. Where all are busy, it gets one of a few spare places, in which
//! only health is answered, so that a probe always gets through; when these are taken too, the oldest gives way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Places beside the ordinary ones, for health.
const SPARE: usize = 16;

/// The places of all listeners.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// Counts what happens; what is idle since a smaller number is idle for longer.
    moment: AtomicU64,
    taken: Mutex<BTreeMap<u64, Taken>>,
}

#[derive(Debug)]
struct Taken {
    use_: Arc<Use>,
    spare: bool,
    give_way: oneshot::Sender<()>,
}

/// What a connection does now.
#[derive(Debug)]
struct Use {
    busy: AtomicBool,
    since: AtomicU64,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    use_: Arc<Use>,
    spare: bool,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most: most.max(1), moment: AtomicU64::new(0), taken: Mutex::default() })
    }

    /// A place for a new connection, and what ends when it is to give way to another.
    pub(super) fn take(self: &Arc<Places>) -> (Place, oneshot::Receiver<()>) {
        let number = self.next();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let spares = taken.values().filter(|it| it.spare).count();
        let full = taken.len() - spares >= self.most;
        let spare = full && !give_way(&mut taken, |it| !it.spare && !it.use_.busy.load(Ordering::Relaxed));
        if spare && spares >= SPARE {
            give_way(&mut taken, |it| it.spare);
        }
        let use_ = Arc::new(Use { busy: AtomicBool::new(false), since: AtomicU64::new(number) });
        let (sender, receiver) = oneshot::channel();
        taken.insert(number, Taken { use_: use_.clone(), spare, give_way: sender });
        (Place { places: self.clone(), number, use_, spare }, receiver)
    }

    fn next(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::Relaxed)
    }
}

/// Ends the connection among these that has been as it is for longest; whether there is one.
fn give_way(taken: &mut BTreeMap<u64, Taken>, among: impl Fn(&Taken) -> bool) -> bool {
    let candidates = taken.iter().filter(|(_, it)| among(it));
    let oldest =
        candidates.min_by_key(|(_, it)| it.use_.since.load(Ordering::Relaxed)).map(|(number, _)| *number);
    let Some(gone) = oldest.and_then(|number| taken.remove(&number)) else { return false };
    // It may have ended by itself.
    let _ = gone.give_way.send(());
    true
}

impl Place {
    /// Whether only health is answered here.
    pub(super) fn is_spare(&self) -> bool {
        self.spare
    }

    /// Busy until this is dropped.
    pub(super) fn busy(self: &Arc<Place>) -> Busy {
        self.use_.busy.store(true, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Busy(place) = self;
        place.use_.since.store(place.places.next(), Ordering::Relaxed);
        place.use_.busy.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_gives_way() {
        let places = Places::new(2);
        let (first, mut first_ends) = places.take();
        let (_second, mut second_ends) = places.take();
        // The first has been answered since: the second is idle for longer.
        let first = Arc::new(first);
        drop(first.busy());
        let (third, mut third_ends) = places.take();
        assert!(!third.is_spare() && second_ends.try_recv().is_ok() && first_ends.try_recv().is_err());
        drop(third);
        assert!(third_ends.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        let (fourth, _ends) = places.take();
        assert!(!fourth.is_spare() && first_ends.try_recv().is_err(), "a place that was given back is free");
    }

    #[test]
    fn the_busy_keep_their_places() {
        let places = Places::new(1);
        let (place, mut ends) = places.take();
        let place = Arc::new(place);
        let busy = place.busy();
        let spares: Vec<_> = (0..SPARE).map(|_| places.take()).collect();
        assert!(spares.iter().all(|(place, _)| place.is_spare()));
        let (further, _ends) = places.take();
        assert!(further.is_spare() && ends.try_recv().is_err());
        let mut spares = spares.into_iter();
        assert!(spares.next().is_some_and(|(_, mut ends)| ends.try_recv().is_ok()), "the oldest spare one");
        assert!(spares.all(|(_, mut ends)| ends.try_recv().is_err()));
        drop(busy);
        let (next, _ends) = places.take();
        assert!(!next.is_spare() && ends.try_recv().is_ok(), "it is idle now");
    }
}
