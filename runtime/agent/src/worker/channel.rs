//! Messages with descriptors over a socket between two processes.
//!
//! A message is `{length: u32, descriptors: u32}`, little-endian, and `length` bytes of JSON; the
//! descriptors travel with the head. Both ends give the most that they take, and a longer one ends the
//! connection before any of it is read.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most descriptors of one message.
const MAX_DESCRIPTORS: usize = 8;

const HEAD_BYTES: usize = 8;

/// One end of the connection.
pub(super) struct Channel {
    reading: UnixStream,
    writing: Mutex<UnixStream>,
}

/// A message as it came.
pub(super) struct Frame {
    pub(super) json: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Frame {
    /// What the message says.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.json).map_err(|error| malformed(error.to_string()))
    }
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Channel {
    /// An end, and the socket for the other process.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::over(ours)?, theirs.into()))
    }

    /// The end that this process was started with, as its standard input.
    pub(super) fn inherited() -> io::Result<Channel> {
        Channel::over(UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?))
    }

    fn over(stream: UnixStream) -> io::Result<Channel> {
        Ok(Channel { writing: Mutex::new(stream.try_clone()?), reading: stream })
    }

    /// The other side must take a message within this time, or sending fails.
    pub(super) fn set_send_timeout(&self, most: Duration) -> io::Result<()> {
        self.reading.set_write_timeout(Some(most))
    }

    /// Sends a message; messages of several threads do not mix. After a failure the connection is of no
    /// more use.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let length = u32::try_from(json.len()).map_err(|_| malformed("a message is too long".into()))?;
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(malformed("too many descriptors in a message".into()));
        }
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&(descriptors.len() as u32).to_le_bytes());
        let mut stream = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = sendmsg(stream.as_fd(), &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL)?;
        stream.write_all(head.get(sent..).unwrap_or_default())?;
        stream.write_all(&json)
    }

    /// Waits for the next message of at most `most` bytes; `None` once the other side has ended. One
    /// thread receives.
    pub(super) fn receive(&self, most: usize) -> io::Result<Option<Frame>> {
        let mut descriptors = Vec::new();
        let mut head = [0; HEAD_BYTES];
        let mut filled = 0;
        while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(rest)];
            let received =
                match recvmsg(self.reading.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            match received.bytes {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => filled += bytes,
            }
        }
        let (length, count) = head.split_at(4);
        let number = |bytes: &[u8]| {
            usize::try_from(u32::from_le_bytes(bytes.try_into().unwrap_or_default())).unwrap_or(usize::MAX)
        };
        let (length, count) = (number(length), number(count));
        if length > most {
            return Err(malformed(format!("a message of {length} bytes, {most} are the most")));
        }
        if count != descriptors.len() {
            return Err(malformed(format!("{count} descriptors were announced, {} came", descriptors.len())));
        }
        let mut json = vec![0; length];
        (&self.reading).read_exact(&mut json)?;
        Ok(Some(Frame { json, descriptors }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    fn other_end(socket: OwnedFd) -> UnixStream {
        UnixStream::from(socket)
    }

    #[test]
    fn words_and_descriptors_arrive_together() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::over(other_end(theirs)).unwrap();
        let file = super::super::sealed::file("test", b"inside").unwrap();
        ours.send(&"first", &[file.as_fd(), file.as_fd()]).unwrap();
        ours.send(&"second", &[]).unwrap();
        let first = theirs.receive(100).unwrap().unwrap();
        assert_eq!((first.parse::<String>().unwrap().as_str(), first.descriptors.len()), ("first", 2));
        let mut copy = std::fs::File::from(first.descriptors.into_iter().next().unwrap());
        let mut text = String::new();
        copy.rewind().unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        let second = theirs.receive(100).unwrap().unwrap();
        assert_eq!((second.parse::<String>().unwrap().as_str(), second.descriptors.len()), ("second", 0));
        assert!(second.parse::<u32>().is_err());
        drop(ours);
        assert!(theirs.receive(100).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_cut_off_or_wrong_ends_the_connection() {
        let receive = |bytes: &[u8]| {
            let (ours, theirs) = Channel::pair().unwrap();
            other_end(theirs).write_all(bytes).unwrap();
            ours.receive(10).map(|frame| frame.map(|frame| frame.json))
        };
        assert_eq!(receive(b"\x02\0\0\0\0\0\0\0{}").unwrap().unwrap(), b"{}");
        for bad in [
            b"\x0b\0\0\0\0\0\0\0".as_slice(),
            b"\xff\xff\xff\xff\0\0\0\0",
            b"\x02\0\0\0\x01\0\0\0{}",
            b"\x02\0\0\0\0\0",
            b"\x05\0\0\0\0\0\0\0{}",
        ] {
            assert!(receive(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_side_that_takes_nothing_does_not_hold_the_other_for_ever() {
        let (ours, _theirs) = Channel::pair().unwrap();
        ours.set_send_timeout(Duration::from_millis(20)).unwrap();
        let long = "x".repeat(100_000);
        assert!((0..100).any(|_| ours.send(&long, &[]).is_err()));
    }
}
