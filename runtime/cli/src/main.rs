//! `dunlin`: the one command line of Dunlin.
//!
//! Thin: every verb reads its arguments, calls a crate and shows the result. Exit codes: 0 done,
//! 1 failed, 2 usage, 3 refused, 4 unreachable. What is for scripts goes to standard output, what is
//! for people about the run (progress, warnings, errors) to standard error.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)] // Help texts are no Markdown.

#[macro_use]
mod terminal;
mod trap;

mod broker;
mod command;
mod demo;
mod failure;
mod onnx;
mod passphrase;
mod show;

use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;
use crate::failure::Outcome;

/// Signed WebAssembly models for fleets of edge devices, over MQTT.
#[derive(Parser)]
#[command(name = "dunlin", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start here: dunlin demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    end_with_the_reader();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code.class.exit_code())
        }
    }
}

/// `dunlin … | head`: when nobody reads on, the run ends as other programs do, with the exit code of a
/// broken pipe, and without the report of a fault.
fn end_with_the_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(141);
        }
        report(panic);
    }));
}

fn run(command: Command) -> Outcome {
    // The agent sets up its own log; the other verbs warn on standard error only.
    if !matches!(command, Command::Agent(_)) {
        let filter = tracing_subscriber::EnvFilter::try_from_env("DUNLIN_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,mqtt5=off"));
        let writer = || terminal::Escaping(std::io::stderr());
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).init();
    }
    command::run(command)
}
