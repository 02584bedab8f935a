//! A fleet of three devices lives through a week: power cuts, a broker that goes and that loses or alters
//! chunks, full and failing disks, releases good and bad, a rotation. At the end, left in peace, every device
//! runs what it should, and on the way nothing was served that must not be.
//!
//! A seed is a week. `DUNLIN_WEEKS=1000 cargo test --release -p dunlin-agent --lib week -- --nocapture` lives
//! through more of them, `DUNLIN_WEEK_SEED=n` through one again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dunlin_core::topic::TelemetryClass;

use super::node::{Node, Off};
use super::plant::{Behaviour, Plant, TODAY};
use super::{Luck, number};
use crate::outbox::queue::{Bounds, Queue};
use crate::store::faulty::{Fault, FaultyFs};

const MINUTE_MS: u64 = 60_000;
const REPORT_MS: u64 = 15 * MINUTE_MS;
const WEEK_MS: u64 = 7 * 24 * 60 * MINUTE_MS;

/// In an ordinary run: as many weeks as fit into `DUNLIN_WEEK_SECONDS`, and at least so many.
const WEEKS: u64 = 200;
const SECONDS: u64 = 15;

struct Household {
    node: Node,
    reports: Reports,
    disk_full_until_ms: u64,
}

/// The reports of a device: every one is delivered, dropped and counted, or lost with the power.
struct Reports {
    queue: Queue,
    made: u64,
    delivered: u64,
    /// Dropped in earlier boots.
    dropped: u64,
    lost: u64,
}

impl Reports {
    fn new() -> Reports {
        Reports { queue: Reports::queue(), made: 0, delivered: 0, dropped: 0, lost: 0 }
    }

    fn queue() -> Queue {
        // A day of reports.
        Queue::new(Bounds { max_bytes: 100 * 96, max_event_bytes: 0 })
    }

    fn make(&mut self) {
        self.made += 1;
        self.queue.push(TelemetryClass::Health, vec![0; 100]);
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.queue.take() {
            self.queue.settle(entry.key, true);
            self.delivered += 1;
        }
    }

    fn power_cut(&mut self) {
        self.dropped += self.queue.dropped().total();
        while self.queue.take().is_some() {
            self.lost += 1;
        }
        self.queue = Reports::queue();
    }

    fn add_up(&self) -> bool {
        self.made == self.delivered + self.dropped + self.queue.dropped().total() + self.lost
    }
}

/// What a week came to.
#[derive(Default)]
struct Tally {
    starts: u64,
    reports: u64,
    /// Releases that were proven on a device.
    proven: u64,
    /// What was refused, rolled back or raised an alarm, by code.
    codes: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.starts += other.starts;
        self.reports += other.reports;
        self.proven += other.proven;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }
}

fn week(seed: u64) -> Tally {
    let mut luck = Luck(seed);
    let mut plant = Plant::new();
    let mut homes: Vec<Household> = ["a", "b", "c"]
        .map(|id| Household {
            node: Node::new(id, &plant, FaultyFs::of_capacity(1 << 20)),
            reports: Reports::new(),
            disk_full_until_ms: 0,
        })
        .into();
    let mut tally = Tally::default();
    let mut good = None;
    let (mut broker_down_until_ms, mut now_ms) = (0, 0);
    while now_ms < WEEK_MS {
        now_ms += REPORT_MS;
        if luck.once_in(60) || now_ms == REPORT_MS {
            operate(&mut plant, now_ms, &mut luck, &mut good);
        }
        if luck.once_in(80) {
            broker_down_until_ms = now_ms + (1 + luck.below(48)) * REPORT_MS;
        }
        if luck.once_in(100) {
            plant.harm_chunks(&mut luck);
        }
        if luck.once_in(20) {
            plant.repair();
        }
        for home in &mut homes {
            disturb(home, now_ms, &mut luck);
            let connected = now_ms >= broker_down_until_ms;
            let died = luck.once_in(60).then(|| luck.once_in(2));
            let lived = quarter_of_an_hour(home, &plant, now_ms, connected, &mut tally)
                .and_then(|()| died.map_or(Ok(()), |in_call| home.node.worker_dies(now_ms, in_call, &plant)));
            if lived.is_err() {
                home.node.switch_off();
                home.reports.power_cut();
            }
            never(&home.node, &plant, seed);
        }
    }
    // Left in peace, everything comes to its end.
    plant.repair();
    if let Some(release) = good {
        // A worker that died in its trial may have taken it down.
        plant.at(TODAY + now_ms / 1000).deploy_again(release);
    }
    for home in &mut homes {
        home.node.fs.no_more_faults();
        home.node.fs.set_capacity(1 << 20);
        for _ in 0..40 {
            now_ms += REPORT_MS;
            quarter_of_an_hour(home, &plant, now_ms, true, &mut tally)
                .unwrap_or_else(|Off| panic!("seed {seed}: the power is on"));
        }
        assert_eq!(home.node.serving(), good, "seed {seed}: {} serves the newest good release", home.node.id);
        let state = home.node.state().unwrap();
        assert_eq!(state.root_version, plant.root_version(), "seed {seed}");
        assert!(home.reports.add_up(), "seed {seed}: a report of {} is lost without a count", home.node.id);
        tally.reports += home.reports.delivered;
        let seen = std::mem::take(&mut home.node.seen);
        tally.add(Tally { proven: seen.proofs, codes: seen.codes, ..Tally::default() });
    }
    tally
}

/// The operator releases, deploys, rotates.
fn operate(plant: &mut Plant, now_ms: u64, luck: &mut Luck, good: &mut Option<dunlin_core::Digest>) {
    plant.at(TODAY + now_ms / 1000);
    if luck.once_in(6) {
        plant.rotate();
    }
    let behaviour = match luck.below(5) {
        0 => Behaviour::WrongAnswers,
        1 => Behaviour::FailsInTrial,
        _ => Behaviour::Good,
    };
    let bytes = 2_000 + luck.below(20_000) as usize;
    let release = plant.release(luck.below(3), bytes, behaviour);
    plant.deploy(release, false);
    if behaviour == Behaviour::Good {
        *good = Some(release);
    }
}

fn disturb(home: &mut Household, now_ms: u64, luck: &mut Luck) {
    if luck.once_in(150) {
        home.node.switch_off();
        home.reports.power_cut();
    }
    if luck.once_in(100) {
        let fault = [Fault::PowerCut, Fault::Full, Fault::Broken][luck.below(3) as usize];
        home.node.fs.fail_again(1 + luck.below(60), fault, luck.next());
    }
    if luck.once_in(200) {
        home.disk_full_until_ms = now_ms + luck.below(24) * REPORT_MS;
    }
    let capacity = if now_ms < home.disk_full_until_ms { home.node.fs.disk_used().max(1) } else { 1 << 20 };
    home.node.fs.set_capacity(capacity);
}

/// A device, for a quarter of an hour.
fn quarter_of_an_hour(
    home: &mut Household,
    plant: &Plant,
    now_ms: u64,
    connected: bool,
    tally: &mut Tally,
) -> Result<(), Off> {
    if !home.node.is_on() {
        tally.starts += 1;
        home.node.start(now_ms)?;
    }
    home.node.tick(now_ms, plant)?;
    home.reports.make();
    if connected {
        home.reports.deliver();
        for _ in 0..200 {
            if !home.node.exchange(now_ms, plant)? {
                break;
            }
        }
        home.node.tick(now_ms, plant)?;
    }
    Ok(())
}

/// What must never be.
fn never(node: &Node, plant: &Plant, seed: u64) {
    if !node.waits_for_disk() {
        assert_eq!(node.believed(), node.serving(), "seed {seed}: {} believes what is not", node.id);
    }
    if let Some(release) = node.serving() {
        let behaviour = plant.model(&release).behaviour;
        assert_ne!(behaviour, Behaviour::WrongAnswers, "seed {seed}: {} serves wrong answers", node.id);
    }
    if let Some(state) = node.state() {
        for active in state.models.iter().filter_map(|model| model.active.as_ref()) {
            let behaviour = plant.model(&active.release).behaviour;
            assert_eq!(behaviour, Behaviour::Good, "seed {seed}: a bad release is proven on {}", node.id);
        }
    }
    assert!(!node.seen.codes.contains_key("illegal-event"), "seed {seed}: {:?}", node.seen.codes);
}

#[test]
fn a_fleet_lives_through_weeks_of_faults() {
    if let Some(seed) = number("DUNLIN_WEEK_SEED") {
        week(seed);
        return;
    }
    let start = Instant::now();
    let (least, fixed) = number("DUNLIN_WEEKS").map_or((WEEKS, false), |weeks| (weeks, true));
    let budget = Duration::from_secs(number("DUNLIN_WEEK_SECONDS").unwrap_or(SECONDS));
    let (mut weeks, mut total) = (0, Tally::default());
    while weeks < least || (!fixed && start.elapsed() < budget) {
        let tally = std::panic::catch_unwind(|| week(weeks)).unwrap_or_else(|panic| {
            println!("see it again: DUNLIN_WEEK_SEED={weeks} cargo test -p dunlin-agent --lib week");
            std::panic::resume_unwind(panic)
        });
        total.add(tally);
        weeks += 1;
    }
    let Tally { starts, reports, proven, codes } = total;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{weeks} weeks of 3 devices in {seconds:.1} s: {starts} starts, {proven} releases proven, {reports} \
         reports delivered; {codes:?}"
    );
    // A week in which nothing goes wrong shows nothing.
    for code in ["disk-full", "disk-failed", "trial-failed", "golden-differs", "worker-died"] {
        assert!(codes.contains_key(code), "no {code} in {weeks} weeks");
    }
}
