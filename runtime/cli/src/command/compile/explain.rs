//! What `dunlin compile` tells of a module: figures, passes, layers and checks.

use std::time::Duration;

use dunlin_compiler::{Layer, Report, WeightFormat};
use dunlin_fleet::golden::OutputCheck;
use dunlin_fleet::run::shape_text;

use crate::show::{self, Table};

/// The model and its sizes.
pub(super) fn summary(report: &Report, took: Duration) -> Table {
    let mut table = show::table(&[]);
    for (kind, tensors) in [("input", &report.card.inputs), ("output", &report.card.outputs)] {
        for tensor in tensors {
            let text = format!("{} {} {}", tensor.name, tensor.dtype, shape_text(tensor));
            table.add_row([kind.to_string(), show::plain(&text)]);
        }
    }
    let operators: Vec<String> =
        report.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    table.add_row(["operators".to_string(), show::plain(&operators.join(", "))]);
    table.add_row(["multiply-adds a sample".to_string(), show::count(report.macs)]);
    table.add_row(["parameters".to_string(), show::count(report.parameters)]);
    let format = match report.weights {
        WeightFormat::F32 => "float32",
        WeightFormat::F16 => "float16",
    };
    table.add_row(["weights".to_string(), format!("{} of {format}", show::bytes(report.weight_bytes))]);
    table.add_row(["arena".to_string(), show::bytes(report.arena_bytes)]);
    table.add_row(["code".to_string(), show::bytes(report.code_bytes)]);
    table.add_row(["module".to_string(), show::bytes(report.module_bytes)]);
    table.add_row(["estimated a sample".to_string(), show::micros(report.estimated_ns as f64 / 1e3)]);
    table.add_row(["compiled in".to_string(), show::micros(took.as_secs_f64() * 1e6)]);
    table
}

/// The passes, and how much each changed.
pub(super) fn passes(passes: &[(String, u32)]) -> Table {
    let mut table = show::table(&["pass", "changes"]);
    for (name, changes) in passes {
        table.add_row([name.clone(), changes.to_string()]);
    }
    show::right(&mut table, &[1]);
    table
}

/// A row for each call of a kernel.
pub(crate) fn layers(layers: &[Layer]) -> Table {
    let heading = ["", "node", "operator", "kernel", "multiply-adds", "weights", "estimated"];
    let mut table = show::table(&heading);
    for (place, layer) in layers.iter().enumerate() {
        table.add_row([
            place.to_string(),
            show::plain(&layer.node),
            show::plain(&layer.operator),
            show::plain(&layer.kernel),
            show::count(layer.macs),
            show::bytes(layer.weight_bytes),
            if layer.estimated_ns > 0 {
                show::micros(layer.estimated_ns as f64 / 1e3)
            } else {
                String::new()
            },
        ]);
    }
    show::right(&mut table, &[0, 4, 5, 6]);
    table
}

/// A row for each output that was compared.
pub(super) fn checks(checks: &[OutputCheck]) -> Table {
    let mut table =
        show::table(&["output", "samples", "largest difference", "largest expected", "tolerance", "verdict"]);
    for check in checks {
        table.add_row([
            show::plain(&check.output),
            check.samples.to_string(),
            format!("{:.2e}", check.largest_difference),
            format!("{:.3}", check.largest_expected),
            format!("{:.0e}", check.tolerance),
            check.failure.as_deref().map_or("pass".to_string(), |failure| format!("fail: {failure}")),
        ]);
    }
    table
}
