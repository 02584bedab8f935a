//! `guest-sdk/api.md` is the surface of the SDK, so that a change of it is seen in a review.
//!
//! Read from the sources, as far as their form tells: what `lib.rs` exports with its signatures, derives, methods
//! and traits; the grammar of the macros; and what `dunlin.h` declares.

use std::fmt::Write as _;

use crate::toolchain::root;

#[test]
fn the_listing_of_the_sdk_is_true() {
    hold(
        "guest-sdk/api.md",
        "dunlin-guest",
        &format!("## Rust\n\n```rust\n{}```\n\n## C\n\n```c\n{}```\n", rust(), c()),
    );
}

#[test]
fn the_listing_of_the_blocks_is_true() {
    hold("guest-sdk/blocks/api.md", "dunlin-blocks", &blocks());
}

/// Holds a listing to what was read from the sources, or writes it anew.
fn hold(path: &str, what: &str, listing: &str) {
    let update = "DUNLIN_UPDATE=1 cargo test -p dunlin --test guests api";
    let expected = format!("# What {what} offers\n\nGenerated from the sources: `{update}`.\n\n{listing}");
    let file = root().join(path);
    if std::env::var_os("DUNLIN_UPDATE").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(actual == expected, "{what} offers something else than {path} says; if that is meant: {update}");
}

fn source(name: &str) -> String {
    std::fs::read_to_string(root().join("guest-sdk").join(name)).unwrap()
}

/// On one line, up to the body.
fn signature(text: &str) -> String {
    let mut depth = 0;
    let end = text.find(|c| {
        depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        depth == 0 && matches!(c, ';' | '{')
    });
    let text = &text[..end.unwrap_or(text.len())];
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(", )", ")")
}

fn rust() -> String {
    let mut listing = String::new();
    for file in ["model.rs", "host.rs"] {
        let text = source(&format!("src/{file}"));
        let (_, from) = text.split_once("#[macro_export]\n").unwrap();
        let (pattern, _) = from.split_once(" => {").unwrap();
        writeln!(listing, "{pattern} => {{ .. }} }}\n").unwrap();
    }
    let lib = source("src/lib.rs");
    let (public, _) = lib.split_once("pub mod rt").unwrap();
    let mut exported = 0;
    for line in public.lines().filter_map(|line| line.strip_prefix("pub use ")) {
        let (module, names) = line.trim_end_matches(';').split_once("::").unwrap();
        let text = source(&format!("src/{module}.rs"));
        for name in names.trim_matches(['{', '}']).split(", ") {
            item(&text, name, &mut listing);
            exported += 1;
        }
    }
    assert!(exported >= 6, "what lib.rs exports was not found");
    listing
}

/// One item of a module: how it is declared, its variants, methods and traits.
fn item(text: &str, name: &str, listing: &mut String) {
    let kinds = ["pub struct ", "pub enum ", "pub fn ", "pub const fn "];
    let starts = kinds.iter().filter_map(|kind| {
        let at = text.find(&format!("\n{kind}{name}"))?;
        let after = text[at + 1 + kind.len() + name.len()..].chars().next()?;
        (!after.is_alphanumeric()).then_some(at + 1)
    });
    let start = starts.min().unwrap_or_else(|| panic!("{name} is exported and not declared"));
    for derive in text[..start].lines().rev().take_while(|line| !line.is_empty()) {
        if derive.starts_with("#[derive(") {
            writeln!(listing, "{derive}").unwrap();
        }
    }
    writeln!(listing, "{}", signature(&text[start..])).unwrap();
    if text[start..].starts_with("pub enum ") {
        let (body, _) = text[start..].split_once("\n}").unwrap();
        let variants = body.lines().skip(1).filter(|line| !line.trim_start().starts_with("//"));
        variants.for_each(|variant| writeln!(listing, "{variant}").unwrap());
    }
    for block in text[start..].split("\nimpl").skip(1) {
        let header = signature(&format!("impl{block}"));
        if !header.contains(name) {
            continue;
        }
        writeln!(listing, "{header}").unwrap();
        let (body, _) = block.split_once("\n}").unwrap();
        for (at, _) in body.match_indices("\n    pub ") {
            if !header.contains(" for ") && !body[at..].starts_with("\n    pub(") {
                writeln!(listing, "    {}", signature(&body[at..])).unwrap();
            }
        }
    }
    listing.push('\n');
}

fn c() -> String {
    let mut listing = String::new();
    let header = source("c/dunlin.h");
    for line in header.lines() {
        let line = line.trim_start_matches("__attribute__((noreturn, unused)) ");
        let declares = ["DUNLIN_EXPORT(\"", "static inline ", "static void ", "    DUNLIN_"];
        let defines = line.strip_prefix("#define ").filter(|rest| {
            let end = rest.find([' ', '(']).unwrap_or(rest.len());
            !rest[..end].ends_with('_')
                && !["DUNLIN_H", "DUNLIN_EXPORT", "DUNLIN_IMPORT"].contains(&&rest[..end])
        });
        if let Some(rest) = defines {
            let end = rest.find(')').filter(|_| rest.contains('(')).map_or(rest.len(), |end| end + 1);
            let name =
                if rest.starts_with("DUNLIN_REGION") { "DUNLIN_REGION" } else { rest[..end].trim_end() };
            if !listing.contains(&format!("#define {name}\n")) {
                writeln!(listing, "#define {name}").unwrap();
            }
        } else if declares.iter().any(|start| line.starts_with(start)) && !line.contains("_(") {
            writeln!(listing, "{}", line.trim_end_matches([' ', '\\', '{'])).unwrap();
        }
    }
    assert!(listing.lines().count() > 15, "what dunlin.h declares was not found");
    listing
}

/// Every public module of the blocks, with the files below it: items, and methods under their types.
fn blocks() -> String {
    let mut listing = String::new();
    let lib = source("blocks/src/lib.rs");
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        let own = format!("blocks/src/{module}.rs");
        let mut files = vec![own.clone()];
        for line in source(&own).lines().filter_map(|line| line.strip_prefix("pub use ")) {
            let (file, _) = line.split_once("::").unwrap();
            files.push(format!("blocks/src/{module}/{file}.rs"));
        }
        writeln!(listing, "## {module}\n\n```rust").unwrap();
        files.iter().for_each(|file| items(&source(file), &mut listing));
        listing.push_str("```\n\n");
    }
    assert!(listing.matches("## ").count() >= 10, "the blocks were not found");
    listing.trim_end().to_string() + "\n"
}

/// What a file declares for others, in its order.
fn items(text: &str, listing: &mut String) {
    let (text, _) = text.split_once("\n#[cfg(test)]").unwrap_or((text, ""));
    let mut header = None;
    for (at, _) in text.match_indices('\n') {
        let rest = &text[at + 1..];
        let line = rest.lines().next().unwrap_or_default();
        if line.starts_with("impl") {
            header = Some(signature(rest));
            if line.contains(" for ") {
                writeln!(listing, "{}", signature(rest)).unwrap();
            }
        }
        let declares = line.trim_start().strip_prefix("pub ");
        if declares.is_some_and(|item| !item.starts_with("use ") && !item.starts_with("mod ")) {
            if line.starts_with("    ") {
                header.take().into_iter().for_each(|header| writeln!(listing, "{header}").unwrap());
                listing.push_str("    ");
            }
            // A field of a struct has a line of its own, and no end but a comma.
            let item =
                line.strip_suffix(',').map_or_else(|| signature(rest), |field| field.trim().to_string());
            writeln!(listing, "{item}").unwrap();
        }
    }
}
