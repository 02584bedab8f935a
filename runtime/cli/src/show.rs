//! What people see: tables, sizes, times and progress.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::failure::{Failure, Outcome};

/// What takes longer than this shows that it goes on.
const PATIENCE: Duration = Duration::from_millis(300);

/// The most characters of a name from a file.
const MAX_NAME_CHARS: usize = 200;

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

/// Sets columns of numbers to the right.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
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

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A name from a file, which may hold anything, for the terminal: without control characters, and cut.
pub(crate) fn plain(text: &str) -> String {
    let mut shown: String =
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_NAME_CHARS).collect();
    if shown.len() < text.len() && text.chars().count() > MAX_NAME_CHARS {
        shown.push('…');
    }
    shown
}

/// Microseconds as a person reads them.
pub(crate) fn micros(us: f64) -> String {
    match us {
        us if us < 1.0 => format!("{us:.3} µs"),
        us if us < 10.0 => format!("{us:.2} µs"),
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

/// Does some work, with a spinner on standard error if it takes long; invisible where that is no
/// terminal.
pub(crate) fn waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (working, done) = channel::<()>();
    let what = what.to_string();
    let spinner = std::thread::spawn(move || {
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(PATIENCE) {
            let bar = ProgressBar::new_spinner().with_message(what);
            bar.enable_steady_tick(PATIENCE / 3);
            // Nothing is ever sent: this is the end of the work.
            let _ = done.recv();
            bar.finish_and_clear();
        }
    });
    let result = work();
    drop(working);
    let _ = spinner.join();
    result
}

/// A progress bar of samples on standard error, if it takes long: called with how many are done.
pub(crate) fn samples(what: &str, total: u64) -> impl FnMut(u64) {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    let bar = bar.with_message(what.to_string()).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {human_pos}/{human_len} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let (start, mut shown) = (Instant::now(), false);
    move |done| {
        if !shown && start.elapsed() >= PATIENCE {
            shown = true;
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(done);
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_mean_something() {
        let texts = [0.0125, 1.5, 12.34, 1_234.0, 2_500_000.0].map(micros);
        assert_eq!(texts, ["0.013 µs", "1.50 µs", "12.3 µs", "1.23 ms", "2.50 s"]);
    }

    #[test]
    fn a_name_from_a_file_commands_no_terminal() {
        assert_eq!(plain("conv1/Relu"), "conv1/Relu");
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(plain(&"é".repeat(500)).chars().count(), MAX_NAME_CHARS + 1);
    }

    #[test]
    fn work_gives_its_result_however_long_it_takes() {
        assert_eq!(waiting("quick", || 1), 1);
        assert_eq!(waiting("slow", || std::thread::sleep(PATIENCE * 2)), ());
    }
}
