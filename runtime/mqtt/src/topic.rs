//! Topics and topic filters: which are valid, and which match.
//!
//! Rules of MQTT 3.1.1, section 4.7. Narrower than the standard in two points: a topic has at most
//! [`MAX_TOPIC_BYTES`] bytes, and shared subscriptions (`$share/...`, an extension of some brokers) are
//! refused, because their messages arrive on topics that are not the filter's.

use dunlin_core::code::{self, Code, Coded};

/// The longest topic or filter in bytes: far above ours, and low enough that eight of them fit any packet.
pub(crate) const MAX_TOPIC_BYTES: usize = 1024;

/// Whether a message may be published on this topic.
///
/// # Errors
/// Empty, too long, a wildcard, or a control character.
pub(crate) fn check_topic(topic: &str) -> Result<(), TopicError> {
    check_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err(TopicError::Wildcard { topic: topic.to_owned() });
    }
    Ok(())
}

/// Whether a filter may be subscribed.
///
/// # Errors
/// As [`check_topic`]; a wildcard must fill its level, and `#` must be the last one.
pub(crate) fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    if filter.starts_with("$share/") {
        return Err(TopicError::Shared { filter: filter.to_owned() });
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        let misplaced = level.len() > 1 && level.contains(['+', '#']) || level == "#" && !is_last;
        if misplaced {
            return Err(TopicError::MisplacedWildcard { filter: filter.to_owned() });
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    // [MQTT-4.7.3-2] forbids U+0000; section 1.5.3 lets a receiver close the connection for the others.
    if text.chars().any(char::is_control) {
        return Err(TopicError::ControlCharacter);
    }
    Ok(())
}

/// Whether the filter has wildcards, so that it can match more than one topic.
pub(crate) fn is_pattern(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// Whether a valid filter matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1] A filter that starts with a wildcard does not match topics that start with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            // Also matches the parent level itself: `a/#` matches `a`.
            return true;
        }
        match topic_levels.next() {
            Some(topic_level) if level == "+" || level == topic_level => {}
            Some(_) | None => return false,
        }
    }
    topic_levels.next().is_none()
}

/// A topic or a filter that MQTT does not allow, or we do not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing.
    #[error("a topic has at least one character")]
    Empty,
    /// Too long.
    #[error("a topic has at most {MAX_TOPIC_BYTES} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A control character.
    #[error("a topic has no control characters")]
    ControlCharacter,
    /// A wildcard in a topic to publish on.
    #[error("`{topic}` cannot be published on: a topic has no + or #")]
    Wildcard {
        /// The topic.
        topic: String,
    },
    /// A wildcard that does not fill its level, or `#` before the end.
    #[error("`{filter}` is no topic filter: + and # stand alone in their level, and # is the last one")]
    MisplacedWildcard {
        /// The filter.
        filter: String,
    },
    /// A shared subscription.
    #[error("`{filter}` is a shared subscription, which this link does not support")]
    Shared {
        /// The filter.
        filter: String,
    },
}

impl Coded for TopicError {
    fn code(&self) -> Code {
        code::link::TOPIC_INVALID
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn invalid_topics_and_filters_are_refused() {
        for topic in ["", "a/+", "#", "a\0b", "a\nb"] {
            assert!(check_topic(topic).is_err(), "{topic:?}");
        }
        for filter in ["", "a#", "a/#/b", "a+/b", "++", "$share/g/a", "a\0"] {
            assert!(check_filter(filter).is_err(), "{filter:?}");
        }
        for filter in ["a", "/", "+", "#", "+/+/#", "a//b", "$SYS/#"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter:?}");
        }
        let long = "a".repeat(MAX_TOPIC_BYTES + 1);
        assert_eq!(check_topic(&long), Err(TopicError::TooLong { bytes: MAX_TOPIC_BYTES + 1 }));
    }

    /// The definition, written as a recursion over levels instead of a loop.
    fn matches_by_recursion(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([f, filter @ ..], [t, topic @ ..]) if *f == "+" || f == t => matches_by_recursion(filter, topic),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(filter in "[ab+#/]{1,6}", topic in "[ab/]{1,6}") {
            prop_assume!(check_filter(&filter).is_ok());
            let levels = |text: &'static str| text.split('/').collect::<Vec<_>>();
            let expected = matches_by_recursion(
                &levels(Box::leak(filter.clone().into_boxed_str())),
                &levels(Box::leak(topic.clone().into_boxed_str())),
            );
            prop_assert_eq!(matches(&filter, &topic), expected);
        }
    }
}
