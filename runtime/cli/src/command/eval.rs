//! `dunlin eval`: how good a module is on data with labels, and against another module.

use std::path::{Path, PathBuf};

use clap::Args;
use dunlin_fleet::evaluate::{
    self, Classes, Comparison, Evaluation, MAX_CONFUSION_CLASSES, Quality, Question,
};
use dunlin_fleet::tensor::Tensor;

use crate::compiled::runner;
use crate::failure::{Outcome, on_file};
use crate::show;

/// Judge a module by data with labels: accuracy, or the mean error of numbers
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin eval digits.wasm --data test_images.npy --labels test_labels.npy\n  \
                        dunlin eval digits-f16.wasm --data x.npy --labels y.npy --against digits.wasm --json\n  \
                        (class numbers [N] give accuracy; floats of the output's shape give the mean error)"
)]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// The samples, one a row
    #[arg(long, value_name = "X.npy|.csv")]
    data: PathBuf,
    /// A class number for each sample, or the numbers that the output must give
    #[arg(long, value_name = "Y.npy|.csv")]
    labels: PathBuf,
    /// The input for the data; the first if nothing is said
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    /// The output to judge; the first if nothing is said
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Count a label among the K best classes too; 5 where there are more classes
    #[arg(long, value_name = "K")]
    top: Option<u32>,
    /// Another module to compare with on the same data, for example the one before
    #[arg(long, value_name = "OTHER.wasm")]
    against: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Printed {
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Evaluation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let (data, labels) = (Tensor::read(&arguments.data)?, Tensor::read(&arguments.labels)?);
    let question = Question {
        data: &data,
        labels: &labels,
        input: arguments.input.as_deref(),
        output: arguments.output.as_deref(),
        top: arguments.top,
    };
    let evaluation = judge(&arguments.module, &question)?;
    let against = arguments.against.as_deref().map(|path| judge(path, &question)).transpose()?;
    let comparison = against.as_ref().map(|other| evaluate::compare(&evaluation, other)).transpose()?;
    if arguments.json {
        return show::json(&Printed { evaluation, against, comparison });
    }
    print(&evaluation, against.as_ref(), comparison.as_ref());
    Ok(())
}

fn judge(path: &Path, question: &Question<'_>) -> Outcome<Evaluation> {
    let mut runner = runner(on_file("read", path, std::fs::read(path))?, None)?;
    let samples = question.data.shape.first().copied().unwrap_or(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(evaluate::evaluate(&mut runner, question, show::samples(&name, samples))?)
}

fn print(evaluation: &Evaluation, against: Option<&Evaluation>, comparison: Option<&Comparison>) {
    let mut table = show::table(if against.is_some() { &["", "module", "against"] } else { &[] });
    let both = |figure: &dyn Fn(&Evaluation) -> String| {
        std::iter::once(evaluation).chain(against).map(figure).collect::<Vec<String>>()
    };
    let mut row = |name: &str, cells: Vec<String>| {
        table.add_row(std::iter::once(name.to_string()).chain(cells));
    };
    row("output", both(&|one| show::plain(&one.output)));
    row("samples", both(&|one| show::count(one.samples)));
    match &evaluation.quality {
        Quality::Classes(classes) => {
            row("accuracy", both(&|one| of_classes(one, |classes| Some(classes.accuracy))));
            if let Some(top) = classes.top {
                let name = format!("among the best {top}");
                row(&name, both(&|one| of_classes(one, |classes| classes.top_accuracy)));
            }
        }
        Quality::Values(_) => {
            row("mean absolute error", both(&|one| of_values(one, |values| values.mean_absolute_error)));
            row(
                "root mean square error",
                both(&|one| of_values(one, |values| values.root_mean_square_error)),
            );
            row("largest error", both(&|one| of_values(one, |values| values.largest_error)));
        }
    }
    if let Some(comparison) = comparison {
        if let Some(agreement) = comparison.agreement {
            row("same choice", vec![show::percent(agreement)]);
        }
        row("largest difference", vec![format!("{:.2e}", comparison.largest_difference)]);
    }
    println!("{table}");
    if let Quality::Classes(classes) = &evaluation.quality
        && classes.classes.len() <= MAX_CONFUSION_CLASSES
    {
        print_classes(classes);
    }
}

fn of_classes(evaluation: &Evaluation, figure: impl Fn(&Classes) -> Option<f64>) -> String {
    match &evaluation.quality {
        Quality::Classes(classes) => figure(classes).map(show::percent).unwrap_or_default(),
        Quality::Values(_) => String::new(),
    }
}

fn of_values(evaluation: &Evaluation, figure: impl Fn(&evaluate::Values) -> f64) -> String {
    match &evaluation.quality {
        Quality::Values(values) => format!("{:.4e}", figure(values)),
        Quality::Classes(_) => String::new(),
    }
}

/// A row a label: how often it was taken for which class, and how well it is told.
fn print_classes(classes: &Classes) {
    let names: Vec<String> = classes.classes.iter().map(|class| show::plain(&class.class)).collect();
    let mut heading = vec!["label \\ choice"];
    heading.extend(names.iter().map(String::as_str));
    heading.extend(["recall", "precision"]);
    let mut table = show::table(&heading);
    for ((score, name), row) in classes.classes.iter().zip(&names).zip(&classes.confusion) {
        let counts = row.iter().map(|count| if *count == 0 { "·".to_string() } else { count.to_string() });
        let shares =
            [score.recall, score.precision].map(|share| share.map(show::percent).unwrap_or_default());
        table.add_row(std::iter::once(name.clone()).chain(counts).chain(shares));
    }
    let numbers: Vec<usize> = (1..heading.len()).collect();
    show::right(&mut table, &numbers);
    println!("{table}");
}
