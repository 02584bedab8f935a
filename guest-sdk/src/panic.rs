//! A panic becomes a trap, and its message stays in memory where `dunlin_error` points.
//!
//! Linked into a module only if its model can panic.

use core::fmt::Write as _;
use core::panic::PanicInfo;

use crate::memory::Cell;
use crate::message::Message;

static MESSAGE: Cell<Message> = Cell::new(Message::new());

/// What `dunlin_error` returns.
pub fn message_address() -> *const u8 {
    (&raw const MESSAGE).cast()
}

/// Leaves a message and ends the call, without the machinery of formatting.
pub(crate) fn trap(text: &str) -> ! {
    leave(|message| message.push(text))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    leave(|message| {
        // A message never fails to take text.
        let _ = write!(message, "{}", info.message());
        if let Some(place) = info.location() {
            let _ = write!(message, " ({}:{})", place.file(), place.line());
        }
    })
}

#[allow(unsafe_code)] // The message is a static that outlives the call.
fn leave(write: impl FnOnce(&mut Message)) -> ! {
    // SAFETY: there is one thread, and whoever comes here never returns: no other reference is alive.
    let message = unsafe { MESSAGE.get_mut() };
    *message = Message::new();
    write(message);
    core::arch::wasm32::unreachable()
}
