//! `dunlin`: the one command line of Dunlin.
//!
//! Thin: every verb reads its arguments, calls a crate and shows the result. Exit codes: 0 done,
//! 1 failed, 2 usage, 3 refused, 4 unreachable. What is for scripts goes to standard output, what is
//! about the run (progress, warnings, errors) to standard error; with `--json` the error is JSON, too.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)] // Help texts are no Markdown.

#[macro_use]
mod terminal;
mod trap;

mod broker;
mod command;
mod compiled;
mod demo;
mod failure;
mod onnx;
mod passphrase;
mod show;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::command::Command;
use crate::failure::{Failure, Outcome};

/// Signed WebAssembly models for fleets of edge devices, over MQTT.
#[derive(Parser)]
#[command(name = "dunlin", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start here: dunlin demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    report_panics();
    match Arguments::try_parse().map_err(unread) {
        Ok(arguments) => run(arguments.command).map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS),
        Err(Unread::Help(help)) => {
            // Help goes to standard output, what is missing to standard error; where neither can be written, nothing
            // is left to do.
            let _ = help.print();
            ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2))
        }
        Err(Unread::Failure(failure)) => end(&failure),
    }
}

/// A command line that names no command to run.
enum Unread {
    /// Help or the version was asked for, or there are no arguments at all.
    Help(clap::Error),
    Failure(Failure),
}

fn unread(error: clap::Error) -> Unread {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Unread::Help(error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !is_json() => Unread::Help(error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Unread::Failure(Failure::usage("a command or an argument is missing"))
        }
        _ => Unread::Failure(Failure::usage(dunlin_agent::usage_message(&error))),
    }
}

/// Whether errors are JSON, too: also that of a command line which cannot be read.
fn is_json() -> bool {
    std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Reports a failure as the last line of standard error, and gives its exit code.
fn end(failure: &Failure) -> ExitCode {
    match is_json() {
        true => eprintln!("{}", terminal::json_escaped(&failure.json())),
        false => eprintln!("{failure}"),
    }
    ExitCode::from(failure.code.class.exit_code())
}

/// A panic is reported by the one way to the terminal, which masks passwords. `dunlin … | head`: when the reader
/// has gone, the run ends as other programs do, with the exit code of a broken pipe, and without the report of a fault.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(141);
        }
        eprintln!("{panic}\n{}", std::backtrace::Backtrace::capture());
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
