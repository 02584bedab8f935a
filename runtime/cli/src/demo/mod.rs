//! `dunlin demo`: the whole of Dunlin on one machine, with nothing faked.
//!
//! A file an act. A broker runs in this process; two agents are processes of their own; models,
//! signatures, messages and refusals are the real ones. What people see is printed as it happens, and
//! the exit code is 0 only if every act went as it must.

mod attack;
mod classify;
mod deliver;
mod drift;
mod images;
mod setup;
mod stage;

use std::time::Instant;

use clap::Args;
use dunlin_core::code;

use crate::failure::{Failure, Outcome};
use crate::show;
use stage::Stage;

/// Show everything in a minute: two devices, a signed model, drift, and attacks that fail
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin demo\n  dunlin demo --keep     (leaves the folder, to look around)"
)]
pub(crate) struct Arguments {
    /// Leave the temporary folder, with the fleet, the devices' state and their logs; so does a failure
    #[arg(long)]
    keep: bool,
}

/// One line of the table at the end.
struct Row {
    what: &'static str,
    seen: String,
    seconds: f64,
    good: bool,
}

/// What an act says that it saw, or what went wrong.
type Seen = Outcome<String>;

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let start = Instant::now();
    println!("Dunlin in a minute. Two devices, one broker, one fleet; all on this machine, all real.\n");
    let mut stage = Stage::open()?;
    let rows = play(&mut stage);
    // What went wrong is in the agents' logs.
    stage.close(arguments.keep || rows.iter().any(|row| !row.good));

    let mut table = show::table(&["", "what happened", "seen", "took"]);
    for row in &rows {
        let mark = if row.good { "ok" } else { "FAILED" };
        table.add_row([mark, row.what, row.seen.as_str(), format!("{:.1} s", row.seconds).as_str()]);
    }
    println!("\n{table}");
    println!("{:.0} s in all", start.elapsed().as_secs_f64());
    if rows.iter().all(|row| row.good) {
        println!("Next: examples/digits/README.md does the same by hand, command by command.");
        Ok(())
    } else {
        Err(Failure::new(code::fleet::DEMO_FAILED, "an act did not go as it must"))
    }
}

/// The acts, in order. One that fails ends the play: those behind it build on it.
fn play(stage: &mut Stage) -> Vec<Row> {
    type Act = fn(&mut Stage) -> Seen;
    let acts: [(&'static str, &str, Act); 9] = [
        (
            "a fleet, two devices",
            "Make a fleet's keys and enrol two devices; their agents start and connect.",
            setup::fleet,
        ),
        (
            "ONNX compiled and signed",
            "Compile the digits' ONNX file to WebAssembly; sign it with its baseline and golden vectors.",
            setup::release,
        ),
        (
            "delivered over MQTT",
            "Publish and deploy; both devices pull, verify, compile, check the golden vectors, and serve.",
            deliver::deliver,
        ),
        (
            "inference on the device",
            "Classify the held-out test images through each device's local HTTP API.",
            classify::classify,
        ),
        (
            "drift alarm",
            "Fog the camera of alpha; the device itself notices and says so over MQTT.",
            drift::drift,
        ),
        (
            "attack: forged release",
            "A thief with the online deploy key names a release that the release key never signed.",
            attack::forge,
        ),
        (
            "attack: altered chunk",
            "The broker flips one byte of a chunk of version 1.1.0; then the true chunk comes back.",
            attack::alter,
        ),
        (
            "attack: replayed deployment",
            "The broker shows the old deployment of version 1.0.0 again.",
            attack::replay,
        ),
        (
            "a restart without the broker",
            "The broker is gone; beta's agent is killed and started again: it serves what it has.",
            deliver::offline,
        ),
    ];
    let mut rows = Vec::new();
    for (number, (what, line, act)) in acts.into_iter().enumerate() {
        println!("{}. {line}", number + 1);
        let start = Instant::now();
        let seen = act(stage);
        let seconds = start.elapsed().as_secs_f64();
        let (seen, good) = match seen {
            Ok(seen) => (seen, true),
            Err(failure) => (failure.to_string(), false),
        };
        println!("   {seen}\n");
        rows.push(Row { what, seen, seconds, good });
        if !good {
            break;
        }
    }
    rows
}
