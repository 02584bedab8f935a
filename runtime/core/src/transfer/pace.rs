//! How fast a transfer asks, and whether what comes is too slow.

use core::num::NonZeroU64;

use super::interface::{SLOW_WINDOW_MS, TransferAction, TransferConfig};

/// The pace of one transfer.
#[derive(Debug)]
pub(super) struct Pace {
    max_bytes_per_s: Option<NonZeroU64>,
    slow_bytes_per_s: u64,
    /// Before this nothing more is asked for, in milliseconds.
    may_ask_ms: u64,
    /// When the window began in which bytes are counted.
    since_ms: u64,
    came_bytes: u64,
}

impl Pace {
    pub(super) fn new(config: &TransferConfig) -> Pace {
        let half = config.max_bytes_per_s.map_or(u64::MAX, |most| most.get() / 2);
        Pace {
            max_bytes_per_s: config.max_bytes_per_s,
            slow_bytes_per_s: config.slow_bytes_per_s.min(half),
            may_ask_ms: 0,
            since_ms: 0,
            came_bytes: 0,
        }
    }

    /// From when on the next chunk may be asked for.
    pub(super) fn may_ask_ms(&self) -> u64 {
        self.may_ask_ms
    }

    /// A chunk is asked for: the next one waits until this one has had its time.
    pub(super) fn asked(&mut self, now_ms: u64, size_bytes: u64) {
        let Some(most) = self.max_bytes_per_s else { return };
        let takes_ms = size_bytes.saturating_mul(1000).div_ceil(most.get());
        self.may_ask_ms = self.may_ask_ms.max(now_ms).saturating_add(takes_ms);
    }

    /// The window begins anew: the transfer starts, or its link is there again.
    pub(super) fn watch_from(&mut self, now_ms: u64) {
        (self.since_ms, self.came_bytes) = (now_ms, 0);
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: u64) {
        self.came_bytes = self.came_bytes.saturating_add(bytes);
    }

    /// When the window ends; `None` if nothing is too slow.
    pub(super) fn judged_ms(&self) -> Option<u64> {
        (self.slow_bytes_per_s > 0).then(|| self.since_ms.saturating_add(SLOW_WINDOW_MS))
    }

    /// Ends the window if it is over, and says whether too little came in it.
    pub(super) fn judge(&mut self, now_ms: u64) -> Option<TransferAction> {
        if self.judged_ms().is_none_or(|judged_ms| now_ms < judged_ms) {
            return None;
        }
        let seconds = (now_ms - self.since_ms) / 1000;
        let bytes_per_s = self.came_bytes / seconds.max(1);
        self.watch_from(now_ms);
        (bytes_per_s < self.slow_bytes_per_s).then_some(TransferAction::Slow { bytes_per_s })
    }
}
