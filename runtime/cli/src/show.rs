//! What people see: tables, sizes, times and progress.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::failure::{Failure, Outcome};
use crate::terminal::{escaped_but, json_escaped};

/// What takes longer than this shows that it goes on.
const PATIENCE: Duration = Duration::from_millis(300);

/// The most characters of a name from a file.
const MAX_NAME_CHARS: usize = 200;

/// A table whose cells are text of one line each: what would break the line is escaped.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Adds a row.
    pub(crate) fn add_row<T: fmt::Display>(&mut self, row: impl IntoIterator<Item = T>) {
        self.0.add_row(row.into_iter().map(cell));
    }

    /// Adds a row of a heading and several lines in one cell; `none` where there are none.
    pub(crate) fn add_lines<T: fmt::Display>(&mut self, heading: &str, lines: impl IntoIterator<Item = T>) {
        let lines = lines.into_iter().map(|line| escaped_but(&line.to_string(), &[]).into_owned());
        let lines: Vec<String> = lines.collect();
        let lines = if lines.is_empty() { "none".to_string() } else { lines.join("\n") };
        self.0.add_row([cell(heading), Cell::new(lines)]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn cell(text: impl fmt::Display) -> Cell {
    Cell::new(escaped_but(&text.to_string(), &[]))
}

/// A table with thin lines, and a heading row if there is something to say.
pub(crate) fn table(heading: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !heading.is_empty() {
        table.set_header(heading.iter().map(cell));
    }
    Table(table)
}

/// Sets columns of numbers to the right.
pub(crate) fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.0.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Prints a value as JSON on one line, for scripts.
pub(crate) fn json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|error| {
        Failure::new(dunlin_core::code::fleet::FILE, format!("cannot write JSON: {error}"))
    })?;
    println!("{}", json_escaped(&text));
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

/// A name from a file, which may hold anything, for a line of its own or in the midst of one: line breaks and
/// all else that is no text are escaped, and it is cut.
pub(crate) fn plain(text: &str) -> String {
    let mut chars = text.chars();
    let cut: String = chars.by_ref().take(MAX_NAME_CHARS).collect();
    let mut shown = escaped_but(&cut, &[]).into_owned();
    if chars.next().is_some() {
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
    let bar = ProgressBar::new(total_bytes).with_message(plain(what));
    let template = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A spinner on standard error with a message that may change; invisible where that is no terminal.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(plain(what)).with_finish(ProgressFinish::AndClear);
    bar.enable_steady_tick(PATIENCE / 3);
    bar
}

/// Does some work, with a spinner on standard error if it takes long; invisible where that is no
/// terminal.
pub(crate) fn waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (working, done) = channel::<()>();
    let what = plain(what);
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
    let bar = bar.with_message(plain(what)).with_finish(ProgressFinish::AndClear);
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
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(plain(&"é".repeat(500)).chars().count(), MAX_NAME_CHARS + 1);
    }

    #[test]
    fn a_cell_is_one_line_of_text() {
        let mut table = table(&["no\u{9b}de"]);
        table.add_row(["a\nb\u{1b}]0;x\u{7}\u{202e}"]);
        let shown = table.to_string();
        assert!(shown.contains("a\\u{a}b\\u{1b}]0;x\\u{7}\\u{202e}"), "{shown}");
        assert!(shown.contains("no\\u{9b}de"), "{shown}");
        assert_eq!(shown.lines().count(), 5, "{shown}");
    }

    #[test]
    fn work_gives_its_result_however_long_it_takes() {
        assert_eq!(waiting("quick", || 1), 1);
        assert_eq!(waiting("slow", || std::thread::sleep(PATIENCE * 2)), ());
    }
}
