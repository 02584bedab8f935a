//! Starting the running program once more, as a process that has nothing.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// The longest line of a child's log that is passed on, in bytes.
const MAX_LINE_BYTES: u64 = 1024;

/// Lines of a child's log that are passed on in a second.
const MAX_LINES_PER_S: u32 = 50;

/// How the running program is started once more.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    words: Vec<String>,
}

impl Program {
    /// The program that runs now, even if its file was replaced; the words lead to the agent's verbs:
    /// none for `dunlind`, `agent` for `dunlin`.
    pub fn this(words: &[&str]) -> Program {
        Program::at("/proc/self/exe", words)
    }

    /// Another file of the same program.
    pub fn at(path: impl Into<PathBuf>, words: &[&str]) -> Program {
        Program { path: path.into(), words: words.iter().map(ToString::to_string).collect() }
    }

    /// Starts it with a hidden verb and a socket as its standard input. Its environment is empty, but for
    /// how much it shall log; what it logs comes through [`relay`]. It is no part of the terminal's group, so
    /// that ctrl-c reaches control alone, and dies with what this returns.
    pub(super) fn start(&self, verb: &str, socket: OwnedFd) -> std::io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.words).arg(verb).env_clear().current_dir("/");
        if let Some(level) = std::env::var_os("DUNLIN_LOG") {
            command.env("DUNLIN_LOG", level);
        }
        command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).spawn()
    }
}

/// Passes a child's log on, line by line and as much of it as is bearable, and gives the last line.
pub(super) async fn relay(process: &'static str, stderr: Option<ChildStderr>) -> String {
    let mut last = String::new();
    let Some(stderr) = stderr else { return last };
    let mut lines = BufReader::new(stderr);
    let (mut second, mut passed, mut suppressed) = (Instant::now(), 0, 0u64);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if suppressed > 0 {
                tracing::warn!(process, suppressed, "lines of its log are left out");
            }
            (second, passed, suppressed) = (Instant::now(), 0, 0);
        }
        let text = readable(&line);
        if passed < MAX_LINES_PER_S && !text.is_empty() {
            tracing::info!(process, "{text}");
            passed += 1;
        } else {
            suppressed += 1;
        }
        if !text.is_empty() {
            last = text;
        }
    }
}

/// Text that does nothing to a terminal.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Whether somebody else ended a process: a person, a service manager, or the kernel for want of memory. What
/// it was doing is not to blame then.
pub(super) fn was_ended_from_outside(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let outside = [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    status.signal().is_some_and(|signal| outside.contains(&signal))
}

/// How a process ended, in words.
pub(super) fn ending(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(signal)) => match rustix::process::Signal::from_named_raw(signal) {
            Some(signal) => format!(
                "it was ended by the signal {}",
                format!("{signal:?}").trim_matches('"').replace("Signal::", "")
            ),
            None => format!("it was ended by the signal {signal}"),
        },
        (None, None) => "it ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn endings_are_told_in_words_and_lines_are_harmless() {
        let ended = |raw| ending(std::process::ExitStatus::from_raw(raw));
        assert_eq!(ended(3 << 8), "it ended with code 3");
        assert_eq!(ended(9), "it was ended by the signal KILL");
        let outside = |raw| was_ended_from_outside(std::process::ExitStatus::from_raw(raw));
        // An exit, an abort for want of memory, too much processor time; a service manager, the kernel.
        assert_eq!([3 << 8, 6, 24, 15, 9].map(outside), [false, false, false, true, true]);
        assert_eq!(readable(b" a\x1b[31mb\n"), "a\u{fffd}[31mb");
    }
}
