//! `dunlin validate`: what a device would say of a module, before it is released.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dunlin_core::VerifiedArtifact;
use dunlin_fleet::run::{Probed, RunError, Runner};
use dunlin_sandbox::{CallError, CompiledModel, MAX_STACK_BYTES, Summary, Work, admit, inspect};

use super::device::DeviceArguments;
use crate::compiled::{Compiled, compiled};
use crate::failure::{Outcome, on_file};
use crate::{show, trap};

/// Say whether a device would take a module, and how it would run there
///
/// Admits and compiles it as a device does, makes an instance, and calls it with zeros, one sample and then
/// `max_batch`, then with random numbers within the ranges of the card. What is wrong is an error that names the
/// function, also an output that is not written, an input that is, state in a model that says it has none, and a
/// reset that does not forget; exit code 3 if the module is refused. Nothing is signed.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin validate digits.wasm\n  \
                        dunlin validate digits.wasm --deadline-us 500 --limits press-3/agent.toml --json")]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let admission = arguments.device.admission(&inspect(&bytes)?)?;
    let admitted = admit(VerifiedArtifact::trust_local(bytes.clone()), &admission)?;
    let summary = admitted.summary().clone();
    if let Some(constructors) = &summary.constructors_each_call {
        return Err(RunError::Constructors { constructors: constructors.clone() }.into());
    }
    let Compiled { engine, model, took: compiled } = compiled(bytes.clone(), &admission)?;
    let mut runner = Runner::ready(engine, model).map_err(|error| trap::explained(&error.into(), &bytes))?;
    let tried = try_zeros(&mut runner, &bytes)?;
    if arguments.json {
        return show::json(&json(runner.model(), &summary, &tried, compiled));
    }
    print(runner.model(), &summary, &tried, compiled);
    Ok(())
}

/// What came of calls with zeros.
struct Tried {
    took: Duration,
    memory_bytes: u64,
    status: u8,
    /// What a device would refuse of the answers.
    refused: Option<String>,
    /// Why a call with random numbers failed; the model's own statuses are no failure.
    failed: Option<String>,
    /// The least address of a tensor.
    lowest_tensor: Option<u32>,
}

/// Calls with zeros. A status of the model's own says that it does not take zeros, and nothing against it.
fn try_zeros(runner: &mut Runner, module: &[u8]) -> Outcome<Tried> {
    let explained = |error: RunError| trap::explained(&error, module);
    let mut instance = runner.model().instantiate().map_err(|error| explained(error.into()))?;
    let started = Instant::now();
    let mut status = 0;
    if let Err(error) = instance.infer(1) {
        status = own_status(error).map_err(|error| explained(error.into()))?;
    }
    let (took, mut refused) = (started.elapsed(), None);
    if status == 0 {
        match runner.run_zeros() {
            Ok(replay) => {
                status = replay.statuses.iter().copied().find(|status| *status != 0).unwrap_or_default();
                refused = runner.keep_contract(&replay).err().map(|error| error.to_string());
            }
            Err(error) => return Err(explained(error)),
        }
    }
    let failed = match runner.probe()? {
        Probed::Held => None,
        Probed::Failed(error) => Some(explained(error.into()).message),
    };
    let (memory_bytes, lowest_tensor) = (instance.memory_bytes(), instance.lowest_tensor());
    Ok(Tried { took, memory_bytes, status, refused, failed, lowest_tensor })
}

fn own_status(error: CallError) -> Result<u8, CallError> {
    match error {
        CallError::Model { status } => Ok(status),
        error => Err(error),
    }
}

/// What is odd about the stack in memory: the card and the linker disagree, or it lies where it does harm.
fn stack_warning(summary: &Summary, lowest_tensor: Option<u32>) -> Option<String> {
    let (said, stack) = (summary.card.stack_bytes, summary.shadow_stack.as_ref()?);
    if said == 0 && !stack.is_named {
        return None;
    }
    if !stack.lies_first || lowest_tensor.is_some_and(|address| address < stack.top) {
        return Some(
            "data or tensors lie below it, so that an overflow overwrites them without a trap, and answers are wrong: \
             link with --stack-first"
                .to_string(),
        );
    }
    (stack.top != said).then(|| {
        format!(
            "the card says {} bytes, the code has {}: link with -z stack-size={said} and --stack-first, or correct \
             the card",
            show::count(said.into()),
            show::count(stack.top.into())
        )
    })
}

/// What is not known of the calls of a module that may recurse.
fn recursion_warning(summary: &Summary) -> Option<String> {
    let function = summary.recursion.as_ref()?;
    Some(format!(
        "{function} may call itself, so that how deep it goes is not known: the call stack has {}, and to use it up \
         is a trap; a loop needs none",
        show::bytes(MAX_STACK_BYTES.into())
    ))
}

fn json(model: &CompiledModel, summary: &Summary, tried: &Tried, compiled: Duration) -> serde_json::Value {
    let work = &summary.work;
    let (operators, obstacle) = match work {
        Work::Bounded { operators } => (Some(*operators), None),
        Work::Unbounded { reason } => (None, Some(reason)),
    };
    serde_json::json!({
        "sha256": model.digest(),
        "interruption_checks": model.is_interruptible(),
        "operators_max": operators,
        "least_deadline_us": work.least_deadline().map(|least| least.as_micros()),
        "unbounded": obstacle,
        "deadline_us": model.limits().deadline.as_micros(),
        "memory_bytes": tried.memory_bytes,
        "memory_limit_bytes": model.limits().memory_bytes,
        "compile_us": compiled.as_micros(),
        "first_call_us": tried.took.as_micros(),
        "status": tried.status,
        "refused_of_zeros": tried.refused,
        "failed_of_random": tried.failed,
        "recursion": summary.recursion,
        "stack": stack_warning(summary, tried.lowest_tensor),
    })
}

fn print(model: &CompiledModel, summary: &Summary, tried: &Tried, compiled: Duration) {
    let work = &summary.work;
    let micros = |time: Duration| show::micros(time.as_secs_f64() * 1e6);
    let limits = model.limits();
    let way = match work {
        Work::Bounded { operators } => format!(
            "without checks in their loops: at most {} operators, {} on a slow device",
            show::count(*operators),
            micros(work.least_deadline().unwrap_or(Duration::MAX))
        ),
        Work::Unbounded { reason } => format!(
            "with checks: {}. Answers are the same, and the deadline ends a call that takes too long; loops with a \
             constant number of trips need no checks and run 6 to 44 % faster",
            show::plain(reason)
        ),
    };
    let called = match tried.status {
        0 => micros(tried.took),
        status => format!("{}, it refused zeros with status {status}", micros(tried.took)),
    };
    let mut table = show::table(&[]);
    table.add_row(["a device would take it".to_string(), "yes".to_string()]);
    table.add_row(["its calls run".to_string(), way]);
    table.add_row(["deadline of a call".to_string(), micros(limits.deadline)]);
    table.add_row([
        "memory".to_string(),
        format!("{} of {}", show::bytes(tried.memory_bytes), show::bytes(limits.memory_bytes)),
    ]);
    table.add_row(["compiled here in".to_string(), micros(compiled)]);
    table.add_row(["first call here".to_string(), called]);
    if let Some(warning) = recursion_warning(summary) {
        table.add_row(["its calls".to_string(), warning]);
    }
    if let Some(warning) = stack_warning(summary, tried.lowest_tensor) {
        table.add_row(["its stack in memory".to_string(), warning]);
    }
    if let Some(refused) = &tried.refused {
        table.add_row(["its answer to zeros".to_string(), format!("refused: {}", show::plain(refused))]);
    }
    if let Some(failed) = &tried.failed {
        table.add_row([
            "its answer to random numbers".to_string(),
            format!("failed: {}", show::plain(failed)),
        ]);
    }
    println!("{table}");
}
