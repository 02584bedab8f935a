//! `examples/assemblyscript-tank`: a language without an SDK, built as its README says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dunlin_sandbox::CallError;

use crate::sandbox::{read, start, write};
use crate::toolchain;

fn run(folder: &Path, program: &Path, arguments: &[&str]) {
    let output = Command::new(program).current_dir(folder).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}:\n{out}\n{err}");
}

/// The compiler of AssemblyScript, of the version that the example names; npm installs it where it is missing.
fn compiler(folder: &Path) -> Result<PathBuf, String> {
    let version = |package: &str, pointer: &str| -> Option<String> {
        let package = std::fs::read(folder.join(package)).ok()?;
        let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
        Some(package.pointer(pointer)?.as_str()?.to_string())
    };
    let wanted = version("package.json", "/devDependencies/assemblyscript").unwrap();
    let compiler = folder.join("node_modules/.bin/asc");
    let is_there = || {
        let found = version("node_modules/assemblyscript/package.json", "/version");
        found.as_ref() == Some(&wanted) && compiler.exists()
    };
    toolchain::locked(folder, || {
        if !is_there() {
            let arguments = ["ci", "--no-fund", "--no-audit"];
            let output = Command::new("npm").current_dir(folder).args(arguments).output();
            let missing = |why: &str| format!("AssemblyScript is missing and cannot be installed: {why}");
            let output = output.map_err(|error| {
                missing(&format!("npm does not run ({error}); run `apt-get install npm`"))
            })?;
            let said = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                return Err(missing(&format!("`npm ci` in {} failed: {}", folder.display(), said.trim())));
            }
            assert!(is_there(), "`npm ci` installed no AssemblyScript {wanted}:\n{said}");
        }
        Ok(compiler.clone())
    })
}

/// The module with this card; nothing where AssemblyScript is missing.
fn with_card(change: impl Fn(String) -> String) -> Option<Vec<u8>> {
    static COMPILER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    static BARE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = toolchain::root().join("examples/assemblyscript-tank");
    let compiler = COMPILER.get_or_init(|| compiler(&folder));
    let found = compiler.as_ref().map(|_| ()).map_err(Clone::clone);
    toolchain::available(toolchain::REQUIRE_TOOLCHAINS, found).then_some(())?;
    let build = || {
        let output = tempfile::tempdir().unwrap();
        let package = std::fs::read_to_string(folder.join("package.json")).unwrap();
        let package: serde_json::Value = serde_json::from_str(&package).unwrap();
        let script = package["scripts"]["build"].as_str().unwrap().strip_prefix("asc ").unwrap();
        let module = output.path().join("tank.wasm").display().to_string();
        let script = script.replace("build/tank.wasm", &module);
        run(&folder, compiler.as_ref().unwrap(), &script.split(' ').collect::<Vec<_>>());
        output
    };
    let bare = BARE.get_or_init(build).path();
    let own = tempfile::tempdir().unwrap();
    let card = change(std::fs::read_to_string(folder.join("card.json")).unwrap());
    std::fs::write(own.path().join("card.json"), card).unwrap();
    let module = own.path().join("tank.wasm").display().to_string();
    let bare = bare.join("tank.wasm").display().to_string();
    run(
        own.path(),
        Path::new(env!("CARGO_BIN_EXE_dunlin")),
        &["card", "set", &bare, "card.json", "-o", &module],
    );
    Some(std::fs::read(&module).unwrap())
}

#[test]
fn a_tank_that_fills_is_seen_to_run_over() {
    let Some(module) = with_card(|card| card) else { return };
    assert!(module.len() < 4096, "{} bytes", module.len());
    let mut running = start(&module, &[]);
    let instance = &mut running.instance;
    let (mut level, mut rate, mut begun) = (0f32, 0f32, false);
    let mut first_alarm = None;
    for second in 0..60 {
        // Again from the beginning after half of the time.
        if second == 30 {
            instance.reset().unwrap();
            (level, rate, begun) = (0.0, 0.0, false);
        }
        let x = 0.5 + 0.01 * (second % 30) as f32;
        write(instance, 0, &[x]);
        instance.infer(1).unwrap();
        let before = if begun { level } else { x };
        level = before + (x - before) / 8.0;
        rate += (level - before - rate) / 8.0;
        begun = true;
        assert_eq!((read(instance, 0, 1), read(instance, 1, 1)), (vec![level], vec![rate]));
        let alarm = instance.output(2, 1).unwrap() == [1];
        assert_eq!(alarm, level + 60.0 * rate > 0.95, "second {second}");
        first_alarm = first_alarm.or(alarm.then_some(second));
    }
    assert_eq!(first_alarm, Some(15));
    write(instance, 0, &[f32::NAN]);
    assert!(matches!(instance.infer(1), Err(CallError::Model { status: 1 })));
}

#[test]
fn a_failed_assertion_reaches_the_host_as_a_message() {
    let more = |card: String| {
        card.replace(
            r#"{"name": "alarm""#,
            r#"{"name": "more", "dtype": "f32", "shape": []}, {"name": "alarm""#,
        )
    };
    let Some(module) = with_card(more) else { return };
    let admitted = dunlin_sandbox::admit(
        dunlin_core::VerifiedArtifact::trust_local(module),
        &dunlin_sandbox::Admission::default(),
    );
    let engine = dunlin_sandbox::Engine::new(dunlin_sandbox::EngineConfig::default()).unwrap();
    let error = engine.compile(admitted.unwrap()).unwrap().instantiate().unwrap_err().to_string();
    assert!(error.contains("the model says: the card has three outputs"), "{error}");
}
