//! Stable error codes: the one table that every crate's errors point into.
//!
//! A code never changes its meaning and is never used again; messages may. Codes go into telemetry
//! (why a device refused a release), into the local API's errors and into the last line that `dunlin`
//! prints. `docs/errors.md` is generated from this table, and a test holds the two together.

pub mod agent;
pub mod document;
pub mod fleet;
pub mod link;
pub mod model;
pub mod module;
pub mod onnx;
pub mod request;
pub mod transfer;
pub mod update;

use core::fmt;

use serde::Serialize;

/// How an error ends a command, and so its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The work was tried and failed: exit code 1.
    Failed,
    /// What was asked for makes no sense: exit code 2.
    Usage,
    /// Something was not trusted or not allowed, on purpose: exit code 3.
    Refused,
    /// The other side could not be reached: exit code 4.
    Unreachable,
}

impl Class {
    /// The exit code of a command that ends with an error of this class.
    pub const fn exit_code(self) -> u8 {
        match self {
            Class::Failed => 1,
            Class::Usage => 2,
            Class::Refused => 3,
            Class::Unreachable => 4,
        }
    }
}

/// One stable error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The name, in lower case with hyphens: `signature-threshold`.
    pub id: &'static str,
    /// How it ends a command.
    pub class: Class,
    /// What happened, in a sentence.
    pub meaning: &'static str,
    /// What to do about it, in a sentence.
    pub remedy: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// An error that has a stable code.
pub trait Coded {
    /// The code of this error.
    fn code(&self) -> Code;
}

/// An error as the programs print it: for people as text, for scripts as JSON.
///
/// As JSON it is `{"error": {"code", "message", "remedy", "exit"}}`, with the code, what was expected and found,
/// what to do, and the exit code.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The code.
    pub code: Code,
    /// What was expected and what was found.
    pub message: &'a str,
}

impl Serialize for Report<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'static str,
            message: &'a str,
            remedy: &'static str,
            exit: u8,
        }
        let Code { id, class, remedy, .. } = self.code;
        let error = Inner { code: id, message: self.message, remedy, exit: class.exit_code() };
        Outer { error }.serialize(serializer)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}\n  to do: {}", self.code, self.message, self.code.remedy)
    }
}

/// Declares the codes of one area: a constant each, and the area's `TABLE`.
macro_rules! codes {
    ($($name:ident = $id:literal, $class:ident, $meaning:literal, $remedy:literal;)*) => {
        use super::{Class, Code};
        $(
            #[doc = $meaning]
            pub const $name: Code = Code { id: $id, class: Class::$class, meaning: $meaning, remedy: $remedy };
        )*
        /// Every code of this area, in order of declaration.
        pub(super) const TABLE: &[Code] = &[$($name),*];
    };
}
use codes;

/// An area's heading in `docs/errors.md`, and its codes.
pub type Area = (&'static str, &'static [Code]);

/// Every code, by area.
pub const AREAS: [Area; 10] = [
    ("Documents and trust", document::TABLE),
    ("Choosing what to run", update::TABLE),
    ("Transfer", transfer::TABLE),
    ("Modules", module::TABLE),
    ("Running models", model::TABLE),
    ("Requests to the local API", request::TABLE),
    ("ONNX and the compiler", onnx::TABLE),
    ("The MQTT link", link::TABLE),
    ("The agent", agent::TABLE),
    ("The fleet folder and the command line", fleet::TABLE),
];

/// The code of this name, if there is one.
pub fn find(id: &str) -> Option<Code> {
    AREAS.iter().flat_map(|(_, codes)| codes.iter()).find(|code| code.id == id).copied()
}

/// The table as Markdown: the content of `docs/errors.md`.
pub fn to_markdown() -> alloc::string::String {
    let mut text = alloc::string::String::from(
        "# Error codes\n\nGenerated from `runtime/core/src/code`; change it there. \
         A code never changes its meaning. The exit code is what `dunlin` ends with: \
         1 failed, 2 usage, 3 refused, 4 unreachable.\n",
    );
    for (heading, codes) in AREAS {
        text += &alloc::format!(
            "\n## {heading}\n\n| code | exit | what happened | what to do |\n|---|---|---|---|\n"
        );
        for code in codes {
            text += &alloc::format!(
                "| `{}` | {} | {} | {} |\n",
                code.id,
                code.class.exit_code(),
                code.meaning,
                code.remedy
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn reports_are_text_or_json() {
        let report = Report { code: fleet::NAME, message: "\"A\" is no name" };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["error"]["code"], "name-invalid");
        assert_eq!(json["error"]["message"], "\"A\" is no name");
        assert_eq!(
            (&json["error"]["remedy"], &json["error"]["exit"]),
            (&fleet::NAME.remedy.into(), &2.into())
        );
        assert!(alloc::format!("{report}").starts_with("error[name-invalid]: \"A\" is no name\n  to do: "));
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for (_, codes) in AREAS {
            for code in codes {
                assert!(seen.insert(code.id), "{} is declared twice", code.id);
                assert!(code.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                assert!(!code.meaning.is_empty() && !code.remedy.is_empty(), "{}", code.id);
            }
        }
    }
}
