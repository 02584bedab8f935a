//! What to change at a broker: the words that the doctor and reading back share.

/// What was acknowledged is not there: any of three reasons.
pub(crate) const WRITE_READ_RETAIN: &str =
    "let this user write and read below dunlin/v1/FLEET/, and turn retained messages on";

/// What was there before is there still.
pub(crate) const REPLACE: &str =
    "let this user write there; if it may, another operator publishes at the same time";

/// Small messages are kept and large ones are not.
pub(crate) const SIZE: &str = "raise the broker's limit on packets or retained messages: mosquitto's message_size_limit, EMQX's mqtt.max_packet_size";
