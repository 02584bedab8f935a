//! Names of functions for error messages, taken from the module's `name` section.
//!
//! The section is the guest's own word and may be damaged: whatever cannot be read leaves a function
//! with its index alone. It is read only once an error needs it.

use wasmparser::{KnownCustom, Name, NameMap, Parser, Payload};

/// The most characters of a guest's text in an error message.
const MAX_CHARS: usize = 120;

/// The most characters of a name that is decoded.
const MAX_ENCODED_CHARS: usize = 512;

/// How the names of functions begin that are added before a module is compiled.
pub(crate) const HELPER: &str = "dunlin:";

/// Whether a function is none of the module's own.
pub(crate) fn is_helper(name: &str) -> bool {
    name.starts_with(HELPER)
}

/// ` in function 7 ("dense_3")`, or without the name where there is none.
pub(crate) fn place(bytes: &[u8], index: u32) -> String {
    match lookup(bytes, index) {
        Some(name) => format!(" in function {index} ({})", function(name)),
        None => format!(" in function {index}"),
    }
}

/// A function's name for an error message, as its author wrote it: what Rust makes of names is undone.
pub(crate) fn function(name: &str) -> String {
    // Cut before it is decoded, which takes time.
    let cut: String = name.chars().take(MAX_ENCODED_CHARS).collect();
    match rustc_demangle::try_demangle(&cut) {
        Ok(decoded) => quoted(&format!("{decoded:#}")),
        Err(_) => quoted(name),
    }
}

/// A guest's text for an error message: quoted, escaped and cut.
pub(crate) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

/// The name of a global.
pub(crate) fn global(bytes: &[u8], index: u32) -> Option<&str> {
    find(bytes, index, |name| if let Name::Global(names) = name { Some(names) } else { None })
}

fn lookup(bytes: &[u8], index: u32) -> Option<&str> {
    find(bytes, index, |name| if let Name::Function(names) = name { Some(names) } else { None })
}

fn find<'a>(
    bytes: &'a [u8],
    index: u32,
    wanted: impl Fn(Name<'a>) -> Option<NameMap<'a>>,
) -> Option<&'a str> {
    let sections = Parser::new(0).parse_all(bytes).filter_map(|payload| match payload {
        Ok(Payload::CustomSection(custom)) => Some(custom),
        Ok(_) | Err(_) => None,
    });
    for custom in sections {
        let KnownCustom::Name(names) = custom.as_known() else { continue };
        for subsection in names {
            let Some(names) = subsection.ok().and_then(&wanted) else { continue };
            if let Some(naming) = names.into_iter().map_while(Result::ok).find(|n| n.index == index) {
                return Some(naming.name);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_function_is_told_by_its_name() {
        let module = wat::parse_str("(module (func) (func $dense))").unwrap();
        assert_eq!(place(&module, 1), r#" in function 1 ("dense")"#);
        assert_eq!(place(&module, 0), " in function 0");
        assert_eq!(place(b"rubbish", 0), " in function 0");
    }

    #[test]
    fn a_name_of_rust_is_told_as_it_was_written() {
        let encoded = "_ZN11press_alarm5Model5infer17h89a2c005d4ef5c84E";
        assert_eq!(function(encoded), r#""press_alarm::Model::infer""#);
        assert_eq!(function("dunlin_infer"), r#""dunlin_infer""#);
        assert_eq!(function("_ZN\u{1b}[2J"), r#""_ZN\u{1b}[2J""#);
        assert!(function(&format!("_RNv{}", "B".repeat(100_000))).chars().count() <= MAX_CHARS + 3);
    }

    #[test]
    fn text_of_a_guest_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), MAX_CHARS + 3);
    }
}
