//! `dunlin validate`: what a device would say of a module, before it is released.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dunlin_abi::Import;
use dunlin_agent::config::Config;
use dunlin_core::VerifiedArtifact;
use dunlin_fleet::run::DEADLINE_US;
use dunlin_sandbox::{
    Admission, CallError, CompiledModel, Engine, EngineConfig, Limits, Work, admit, inspect,
};

use crate::failure::{Outcome, on_file};
use crate::show;

/// Say whether a device would take a module, and how it would run there
///
/// Admits and compiles it as a device does, makes an instance, and calls it once with zeros. What is wrong is
/// an error that names the function; exit code 3 if the module is refused. Nothing is signed.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin validate digits.wasm\n  \
                        dunlin validate digits.wasm --deadline-us 500 --limits press-3/agent.toml --json")]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// The time that a call may take, in microseconds, as the release will have it
    #[arg(long, value_name = "US", default_value_t = DEADLINE_US)]
    deadline_us: u64,
    /// Also hold it to the limits and the site's policy of a device: its agent.toml
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let device = arguments.limits.as_deref().map(Config::read).transpose()?;
    let admission = admission(arguments.deadline_us, device.as_ref(), inspect(&bytes)?.memory_min_bytes);
    let admitted = admit(VerifiedArtifact::trust_local(bytes), &admission)?;
    let work = admitted.summary().work.clone();
    let engine = Engine::new(EngineConfig::default())?;
    let started = Instant::now();
    let model = engine.compile(admitted)?;
    let compiled = started.elapsed();
    let tried = try_once(&model)?;
    if arguments.json {
        return show::json(&json(&model, &work, &tried, compiled));
    }
    print(&model, &work, &tried, compiled);
    Ok(())
}

/// The terms of a release that does not say more, tightened by the device's.
fn admission(deadline_us: u64, device: Option<&Config>, memory_min_bytes: u64) -> Admission {
    let mut limits = Limits { deadline: Duration::from_micros(deadline_us), ..Limits::default() };
    // A release grants at least what a module starts with.
    limits.memory_bytes = limits.memory_bytes.max(memory_min_bytes);
    let mut imports = Import::ALL.to_vec();
    if let Some(device) = device {
        limits.memory_bytes = limits.memory_bytes.min(device.limits.memory_bytes);
        limits.deadline = limits.deadline.min(Duration::from_micros(device.limits.deadline_us));
        imports.retain(|import| !device.site.denied_imports.contains(import));
    }
    Admission { limits, imports, card_digest: None }
}

/// One call with zeros. A status of the model's own says that it does not take zeros, and nothing against it.
struct Tried {
    took: Duration,
    memory_bytes: u64,
    status: u8,
}

fn try_once(model: &CompiledModel) -> Result<Tried, CallError> {
    let mut instance = model.instantiate()?;
    let started = Instant::now();
    let status = match instance.infer(1) {
        Ok(()) => 0,
        Err(CallError::Model { status }) => status,
        Err(error) => return Err(error),
    };
    Ok(Tried { took: started.elapsed(), memory_bytes: instance.memory_bytes(), status })
}

fn json(model: &CompiledModel, work: &Work, tried: &Tried, compiled: Duration) -> serde_json::Value {
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
    })
}

fn print(model: &CompiledModel, work: &Work, tried: &Tried, compiled: Duration) {
    let micros = |time: Duration| show::micros(time.as_secs_f64() * 1e6);
    let limits = model.limits();
    let way = match (work, model.is_interruptible()) {
        (Work::Bounded { operators }, false) => {
            format!("without checks: at most {} operators, proven", show::count(*operators))
        }
        (Work::Bounded { operators }, true) => format!(
            "with checks: {} operators at most need {}, and the deadline is shorter",
            show::count(*operators),
            micros(work.least_deadline().unwrap_or(Duration::MAX))
        ),
        (Work::Unbounded { reason }, _) => format!("with checks: {}", show::plain(reason)),
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
    println!("{table}");
}
