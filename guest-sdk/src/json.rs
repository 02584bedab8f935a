//! Writes JSON while the compiler runs.
//!
//! The card must lie in the module as finished bytes, so they are computed in constants. A writer of
//! capacity 0 only counts; a second one with that capacity writes.

/// Counts every byte and keeps the first `N`.
pub(crate) struct Json<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Json<N> {
    /// A writer that has written nothing.
    pub(crate) const fn new() -> Self {
        Json { bytes: [0; N], len: 0 }
    }

    /// How many bytes were written, kept or not.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes; exactly as many as were written.
    pub(crate) const fn finish(self) -> [u8; N] {
        assert!(self.len == N, "the capacity must be what a writer of capacity 0 counted");
        self.bytes
    }

    /// Text that is JSON already: punctuation, keys, numbers.
    pub(crate) const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }

    /// A string without control characters, in quotes.
    pub(crate) const fn string(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        self.byte(b'"');
        while at < bytes.len() {
            if matches!(bytes[at], b'"' | b'\\') {
                self.byte(b'\\');
            }
            self.byte(bytes[at]);
            at += 1;
        }
        self.byte(b'"');
    }

    /// A whole number.
    pub(crate) const fn number(&mut self, number: u32) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.byte(b"0123456789"[(number % 10) as usize]);
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }
}

/// Whether the text is a number of JSON. Rust also writes `1_000.0`, `1.` and `1f32`.
pub(crate) const fn is_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let whole = if matches!(bytes, [b'-', ..]) { 1 } else { 0 };
    let mut at = digits(bytes, whole);
    let leading_zero = at > whole + 1 && bytes[whole] == b'0';
    if at == whole || leading_zero {
        return false;
    }
    if at < bytes.len() && bytes[at] == b'.' {
        let fraction = at + 1;
        at = digits(bytes, fraction);
        if at == fraction {
            return false;
        }
    }
    if at < bytes.len() && matches!(bytes[at], b'e' | b'E') {
        let signed = at + 1 < bytes.len() && matches!(bytes[at + 1], b'+' | b'-');
        let exponent = if signed { at + 2 } else { at + 1 };
        at = digits(bytes, exponent);
        if at == exponent {
            return false;
        }
    }
    at == bytes.len()
}

/// The index behind the digits that start at `at`.
const fn digits(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_and_escaped() {
        let mut json = Json::<12>::new();
        json.string("a\"b\\c é");
        assert_eq!(&json.finish(), "\"a\\\"b\\\\c é\"".as_bytes());
    }

    #[test]
    fn a_writer_without_room_counts() {
        let mut json = Json::<0>::new();
        json.raw("[");
        json.number(4_294_967_295);
        json.number(0);
        assert_eq!(json.len(), 12);
    }

    #[test]
    fn numbers_are_those_of_json() {
        for good in ["0", "-0.5", "160.0", "1e3", "-1.25E-7", "10"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "1.", ".5", "01", "1_000", "1f32", "0x10", "1e", "1e+", "+1", "1.0 "] {
            assert!(!is_number(bad), "{bad}");
        }
    }
}
