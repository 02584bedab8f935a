//! A line of text of bounded length, laid out as the host reads it: `{len: u32, [u8; 256]}`.
//!
//! What does not fit is cut at a character's edge, so that the bytes are UTF-8 at any moment.

use core::fmt;

/// The longest message, in bytes of UTF-8.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256;

/// A message, at first empty.
#[repr(C)]
pub struct Message {
    len: u32,
    bytes: [u8; MAX_MESSAGE_BYTES],
    full: bool,
}

impl Message {
    /// An empty message.
    #[expect(clippy::new_without_default, reason = "a message is a static, made in a constant")]
    pub const fn new() -> Self {
        Message { len: 0, bytes: [0; MAX_MESSAGE_BYTES], full: false }
    }

    /// Adds text, as far as it fits; behind text that did not fit, nothing.
    pub fn push(&mut self, text: &str) {
        if self.full {
            return;
        }
        let start = self.len as usize;
        let room = MAX_MESSAGE_BYTES - start;
        let end = text.floor_char_boundary(room);
        self.full = end < text.len();
        for (to, from) in self.bytes.iter_mut().skip(start).zip(text.bytes().take(end)) {
            *to = from;
        }
        self.len = (start + end) as u32;
    }

    /// The text so far, in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or_default()
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;
    use core::mem::offset_of;

    #[test]
    fn the_layout_is_a_length_and_then_the_bytes() {
        assert_eq!((offset_of!(Message, len), offset_of!(Message, bytes)), (0, 4));
    }

    #[test]
    fn formatted_text_is_collected() {
        let mut message = Message::new();
        write!(message, "{} of {:?}", 3, [4]).unwrap();
        assert_eq!(message.as_bytes(), b"3 of [4]");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut message = Message::new();
        message.push(&"x".repeat(255));
        message.push("é!");
        message.push("y");
        assert_eq!(
            message.as_bytes(),
            "x".repeat(255).as_bytes(),
            "half of é is no text, y would follow a gap"
        );
        let mut exact = Message::new();
        exact.push(&"x".repeat(254));
        exact.push("é");
        exact.push("");
        assert_eq!(exact.as_bytes().len(), 256);
    }
}
