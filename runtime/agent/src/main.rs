//! `dunlind`: the agent alone, the small binary for devices. `dunlin agent` is the same program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dunlin_agent::main()
}
