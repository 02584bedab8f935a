//! What must hold for any text; the fuzz target and the replay of its corpus demand the same.

use dunlin_agent::config::{Config, ConfigError};

/// A configuration that is read is written and read as the same; an error names a line of the text.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let written = config.to_toml().expect("what was read from text is text");
            assert_eq!(Config::parse(&written).as_ref(), Ok(&config), "{written}");
        }
        Err(ConfigError::Text { line, problem, .. }) => {
            assert!((1..=text.lines().count().max(1) + 1).contains(&line), "line {line}: {problem}");
            assert!(!problem.is_empty());
        }
        Err(other) => panic!("a text alone gives no other error: {other}"),
    }
}
