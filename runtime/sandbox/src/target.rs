//! The kinds of machines that code is made for, by the names that releases use.
//!
//! A kind is as narrow as code needs it and no narrower: the C library of a program says nothing about the
//! code of its models, so `x86_64-unknown-linux-gnu` and `-musl` are one kind.

use core::fmt;
use core::str::FromStr;

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// 64-bit x86 with Linux.
    X86_64,
    /// 64-bit ARM with Linux.
    Aarch64,
    /// wasmtime's interpreter on a 32-bit machine.
    Pulley32,
    /// wasmtime's interpreter on a 64-bit machine.
    Pulley64,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 4] = [Target::X86_64, Target::Aarch64, Target::Pulley32, Target::Pulley64];

    /// What a build for this machine runs where it does not compile: its own code where Cranelift knows the
    /// processor, else the interpreter's.
    pub const HERE: Target = if cfg!(target_arch = "x86_64") {
        Target::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Target::Aarch64
    } else {
        Target::INTERPRETER
    };

    /// The interpreter on this machine.
    pub const INTERPRETER: Target =
        if cfg!(target_pointer_width = "32") { Target::Pulley32 } else { Target::Pulley64 };

    /// Its name in releases and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64-linux",
            Target::Aarch64 => "aarch64-linux",
            Target::Pulley32 => "pulley32",
            Target::Pulley64 => "pulley64",
        }
    }

    /// Its name in wasmtime.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64-unknown-linux-gnu",
            Target::Aarch64 => "aarch64-unknown-linux-gnu",
            Target::Pulley32 => "pulley32",
            Target::Pulley64 => "pulley64",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no target: it is one of x86_64-linux, aarch64-linux, pulley32, pulley64, or a Rust triple of Linux"
)]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    /// Takes the name, or a Rust target triple for Linux; a 32-bit ARM or x86 one means the interpreter.
    fn from_str(text: &str) -> Result<Target, UnknownTarget> {
        let unknown = || UnknownTarget(text.chars().take(80).collect());
        if let Some(target) = Target::ALL.into_iter().find(|target| target.name() == text) {
            return Ok(target);
        }
        let (processor, rest) = text.split_once('-').ok_or_else(unknown)?;
        if !rest.starts_with("unknown-linux-") {
            return Err(unknown());
        }
        match processor {
            "x86_64" => Ok(Target::X86_64),
            "aarch64" => Ok(Target::Aarch64),
            "arm" | "armv7" | "i586" | "i686" => Ok(Target::Pulley32),
            _other => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_triples_are_read() {
        for target in Target::ALL {
            assert_eq!(target.name().parse(), Ok(target));
        }
        for (triple, target) in [
            ("x86_64-unknown-linux-musl", Target::X86_64),
            ("x86_64-unknown-linux-gnu", Target::X86_64),
            ("aarch64-unknown-linux-musl", Target::Aarch64),
            ("armv7-unknown-linux-gnueabihf", Target::Pulley32),
        ] {
            assert_eq!(triple.parse(), Ok(target), "{triple}");
        }
        for wrong in
            ["", "x86_64", "x86_64-pc-windows-msvc", "aarch64-apple-darwin", "riscv64gc-unknown-linux-gnu"]
        {
            assert_eq!(wrong.parse::<Target>(), Err(UnknownTarget(wrong.into())));
        }
    }
}
