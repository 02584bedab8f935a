//! `dunlin tail`: follow what devices report.

use clap::{Args, ValueEnum};
use dunlin_core::topic::TelemetryClass;
use dunlin_fleet::tail;

use super::access::{BrokerArguments, SourceArguments};
use super::block_on;
use crate::failure::Outcome;
use crate::show;

/// Follow what devices report, a record a line
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin tail\n  dunlin tail drift --fleet plant --broker mqtt://10.0.0.5 | jq .\n  \
                        dunlin tail --root root.json --broker mqtt://10.0.0.5     (without the fleet's folder)"
)]
pub(crate) struct Arguments {
    /// Only this class
    #[arg(value_enum)]
    class: Option<ClassArgument>,
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// End after this many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print errors as JSON, too; records always are
    #[arg(long = "json")]
    _json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClassArgument {
    Health,
    Drift,
    Event,
}

impl From<ClassArgument> for TelemetryClass {
    fn from(class: ClassArgument) -> TelemetryClass {
        match class {
            ClassArgument::Health => TelemetryClass::Health,
            ClassArgument::Drift => TelemetryClass::Drift,
            ClassArgument::Event => TelemetryClass::Event,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let source = arguments.source.open()?;
    let access = arguments.broker.resolve(source.folder())?;
    block_on(async {
        let (link, mut events) = access.connect().await?;
        tail::subscribe(&link, source.name(), arguments.class.map(TelemetryClass::from)).await?;
        let mut shown = 0;
        while arguments.count.is_none_or(|count| shown < count) {
            let Some(record) = tail::next(&mut events, source.name()).await else { break };
            show::json(&record.json)?;
            shown += 1;
        }
        link.close().await;
        Ok(())
    })
}
