//! The one way to the terminal: everything that the command line prints goes through here, with characters
//! escaped that would command a terminal or rearrange a line, and with passwords in URLs masked.
//!
//! Names come out of files and off the network, into tables, warnings and errors alike. `println!` and
//! `eprintln!` of this crate are the two below; clippy refuses the standard library's
//! (`print_stdout`, `print_stderr`). Line breaks and tabs pass, because the tables and messages here have them;
//! where a name could bring its own, [`crate::show::plain`] escapes those too.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use dunlin_mqtt::without_passwords;

/// The exit code of a program whose reader has gone, as a shell shows it.
const BROKEN_PIPE: i32 = 141;

macro_rules! println {
    () => { $crate::terminal::out(format_args!("")) };
    ($($argument:tt)*) => { $crate::terminal::out(format_args!($($argument)*)) };
}

macro_rules! eprintln {
    ($($argument:tt)*) => { $crate::terminal::err(format_args!($($argument)*)) };
}

/// A line on standard output.
pub(crate) fn out(line: Arguments<'_>) {
    let result = Escaping(std::io::stdout().lock()).line(line);
    if let Err(error) = result {
        if error.kind() != ErrorKind::BrokenPipe {
            err(format_args!("cannot write to standard output: {error}"));
            std::process::exit(1);
        }
        std::process::exit(BROKEN_PIPE);
    }
}

/// A line on standard error. There is nowhere to tell that it could not be written.
pub(crate) fn err(line: Arguments<'_>) {
    let _ = Escaping(std::io::stderr().lock()).line(line);
}

/// A writer of text that escapes it.
pub(crate) struct Escaping<W>(pub(crate) W);

impl<W: Write> Escaping<W> {
    fn line(&mut self, line: Arguments<'_>) -> std::io::Result<()> {
        self.write_all(format!("{line}\n").as_bytes())?;
        self.flush()
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(escaped(&without_passwords(&String::from_utf8_lossy(bytes))).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Whether a character does something to a terminal, or to the characters around it, instead of being shown:
/// controls (C0, DEL, C1), line and paragraph separators, marks of direction, invisible tags.
pub(crate) fn is_command(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with such characters as `\u{1b}`, but for line breaks and tabs.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, &['\n', '\t'])
}

/// The text with such characters as `\u{1b}`, but for some.
pub(crate) fn escaped_but<'a>(text: &'a str, passes: &[char]) -> Cow<'a, str> {
    let refused = |c: char| is_command(c) && !passes.contains(&c);
    if !text.contains(refused) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if refused(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// JSON with such characters as JSON's own escapes, which mean the same. They only occur within its strings,
/// apart from the line breaks between its parts.
pub(crate) fn json_escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_command(c) && c != '\n' {
            let units =
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            shown.push_str(&units);
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_a_terminal() {
        let name = "\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}gnp\u{2069}\u{7f}";
        let shown = escaped(name);
        assert_eq!(shown, "\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{d}\\u{202e}gnp\\u{2069}\\u{7f}");
        let mut written = Vec::new();
        Escaping(&mut written).line(format_args!("a {name}\n\tb")).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), format!("a {shown}\n\tb\n"));
        for c in ('\0'..='\u{9f}').filter(|c| c.is_control() && !['\n', '\t'].contains(c)) {
            assert!(!escaped(&c.to_string()).contains(c), "{c:?}");
        }
    }

    #[test]
    fn passwords_of_urls_are_masked() {
        let mut written = Vec::new();
        Escaping(&mut written).line(format_args!("'mqtt://ann:hunter2@b' is no file")).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "'mqtt://ann:***@b' is no file\n");
    }

    #[test]
    fn letters_of_every_script_pass() {
        for text in ["conv1/Relu", "Größe µs ≥ │", "模型", "עברית", "e\u{301}"] {
            assert_eq!(escaped(text), text);
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({ "name": "\u{1b}\u{9b}\u{202e}\u{e0041}\n" });
        let text = json_escaped(&value.to_string());
        assert!(!text.contains(is_command), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
