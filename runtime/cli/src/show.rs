//! What people see: tables, sizes, times and progress.

use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Outcome};

/// A table with thin lines, and a heading row if there is something to say.
pub(crate) fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !heading.is_empty() {
        table.set_header(heading.to_vec());
    }
    table
}

/// Prints a value as JSON on one line, for scripts.
pub(crate) fn json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|error| {
        Failure::new(dunlin_core::code::fleet::FILE, format!("cannot write JSON: {error}"))
    })?;
    println!("{text}");
    Ok(())
}

/// Bytes as a person reads them: `14.2 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Microseconds as a person reads them.
pub(crate) fn micros(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.1} µs"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A progress bar of bytes on standard error; invisible where that is no terminal.
pub(crate) fn progress(what: &str, total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(total_bytes).with_message(what.to_string());
    let template = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Now, in seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
