//! Keeps one connection alive after the other: jitter, connect, poll, fail, back off, again.
//!
//! Two tasks a connection. One only polls: it takes in what comes and never awaits anything else, so
//! that it cannot block itself. This one sends, watches the acknowledgements and ends the connection.
//! A panic in the client is seen as a failed connection (unless panics abort the process).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::share;
use crate::config::LinkConfig;
use crate::connection::{Connection, Failure, Sender};
use crate::link::Event;
use crate::shared::Shared;
use crate::tls::Tls;

/// How long a goodbye may take. Longer only delays the caller: the will is then published, once too often.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to say goodbye; answered when all is over.
pub(crate) type Goodbye = oneshot::Sender<()>;

/// Why no further connection is wanted.
enum Ending {
    /// [`Link::close`](crate::Link::close) was called.
    Goodbye(Goodbye),
    /// The last handle was dropped: the connection is cut, and the broker publishes the will.
    Abandoned,
}

/// How one connection ended.
enum Outcome {
    Failed(Failure),
    Ended(Ending),
}

/// Runs until the link is closed or its last handle dropped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut config: LinkConfig,
    mut goodbyes: mpsc::UnboundedReceiver<Goodbye>,
) {
    let ending = connect_again_and_again(&shared, &mut config, &mut goodbyes).await;
    shared.close();
    if let Ending::Goodbye(done) = ending {
        // The caller may have stopped waiting.
        let _ = done.send(());
    }
}

async fn connect_again_and_again(
    shared: &Arc<Shared>,
    config: &mut LinkConfig,
    goodbyes: &mut mpsc::UnboundedReceiver<Goodbye>,
) -> Ending {
    let jitter = if config.first_connect_jitter.is_zero() {
        Duration::ZERO
    } else {
        share(config.first_connect_jitter, random())
    };
    if let Some(ending) = pause(jitter, goodbyes).await {
        return ending;
    }
    let mut failures = 0_u32;
    loop {
        let failure = match one_connection(shared, config, goodbyes).await {
            Outcome::Failed(failure) => failure,
            Outcome::Ended(ending) => return ending,
        };
        let held = shared.disconnected(&failure);
        if held.is_some_and(|held| held >= config.backoff.stable_after) {
            failures = 0;
        }
        failures = failures.saturating_add(1);
        let retry_in = config.backoff.delay(failures, random());
        tracing::debug!(broker = %config.broker, reason = failure.reason(), failures, ?retry_in, "not connected");
        shared.emit(Event::Disconnected { reason: failure.reason().to_owned(), retry_in });
        if let Some(ending) = pause(retry_in, goodbyes).await {
            return ending;
        }
        config.renew().await;
    }
}

/// Sleeps, unless the link ends meanwhile.
async fn pause(delay: Duration, goodbyes: &mut mpsc::UnboundedReceiver<Goodbye>) -> Option<Ending> {
    tokio::select! {
        biased;
        goodbye = goodbyes.recv() => Some(ending(goodbye)),
        () = sleep(delay) => None,
    }
}

fn ending(goodbye: Option<Goodbye>) -> Ending {
    match goodbye {
        Some(done) => Ending::Goodbye(done),
        None => Ending::Abandoned,
    }
}

/// A uniformly random number. Without an entropy source there is no jitter, and the longest wait.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

/// One connection, from its preparation to its end. When this returns, its polling task has ended.
async fn one_connection(
    shared: &Arc<Shared>,
    config: &LinkConfig,
    goodbyes: &mut mpsc::UnboundedReceiver<Goodbye>,
) -> Outcome {
    let (sender, connection) = Connection::prepare(config);
    let mut polling =
        tokio::spawn(poll(connection, Arc::clone(shared), config.connect_timeout, config.tls.clone()));
    let outcome = tokio::select! {
        biased;
        failure = ended(&mut polling) => return Outcome::Failed(failure),
        goodbye = goodbyes.recv() => Outcome::Ended(ending(goodbye)),
        failure = watch_acknowledgements(shared, config.ack_deadline) => Outcome::Failed(failure),
        never = send(shared, &sender) => match never {},
    };
    if matches!(outcome, Outcome::Ended(Ending::Goodbye(_))) && shared.is_connected() {
        let goodbye = async {
            if sender.disconnect().await.is_ok() {
                ended(&mut polling).await;
            }
        };
        // Late is as good as cut: what follows ends the connection in either case.
        let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
    }
    // The task must not touch the shared state after this.
    polling.abort();
    if !polling.is_finished() {
        ended(&mut polling).await;
    }
    outcome
}

/// Waits for the end of the polling task.
async fn ended(polling: &mut JoinHandle<Failure>) -> Failure {
    match polling.await {
        Ok(failure) => failure,
        Err(error) if error.is_panic() => Failure::lost("the MQTT client panicked; it is built anew"),
        Err(_) => Failure::lost("the connection was ended"),
    }
}

/// Connects and takes in what comes. Awaits nothing but the connection.
async fn poll(
    mut connection: Connection,
    shared: Arc<Shared>,
    connect_timeout: Duration,
    tls: Option<Tls>,
) -> Failure {
    let mut next = match timeout(connect_timeout, connection.next()).await {
        Ok(first) => first,
        Err(_) => return Failure::lost(format!("no answer to CONNECT within {connect_timeout:?}")),
    };
    let mut certificate_from_unix_s = tls.and_then(|tls| tls.take_ahead());
    loop {
        if let Err(failure) = next.and_then(|signal| shared.handle(signal)) {
            return failure;
        }
        if let Some(certificate_from_unix_s) = certificate_from_unix_s.take() {
            shared.emit(Event::ClockBehind { certificate_from_unix_s });
        }
        next = connection.next().await;
    }
}

/// Hands requests over, one by one, for as long as it is polled.
async fn send(shared: &Shared, sender: &Sender) -> Infallible {
    loop {
        let request = shared.next_request().await;
        if sender.send(request).await.is_err() {
            // The polling task has ended, or does in this moment; it knows the reason, so it shall tell.
            std::future::pending::<()>().await;
        }
    }
}

/// Ends when something has waited for an acknowledgement for the deadline while none came.
async fn watch_acknowledgements(shared: &Shared, deadline: Duration) -> Failure {
    loop {
        let now = Instant::now();
        let until = shared.waiting_since().unwrap_or(now) + deadline;
        if until <= now {
            return Failure::lost(format!("the broker acknowledged nothing for {deadline:?}"));
        }
        sleep_until(until).await;
    }
}
