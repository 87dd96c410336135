//! The layout of one request record and of one reply frame.
//!
//! All integers are little-endian and unaligned. Strings are UTF-8 without a terminator. Lengths
//! come before what they measure, so that a reader can check each of them against what is left.
//!
//! ```text
//! request  id_len u32 | headers u32 | inputs u32 | id
//!          per header: name_len u32 | value_len u32 | name | value
//!          per input:  name_len u32 | type_len u32 | kind u32 | a u64 | b u64 | name | type | bytes
//!            kind 0: the value follows inline, a = its length, b = 0
//!            kind 1: the value lies in the arena, a = offset, b = length
//! reply    batch_id u64 | code u32 | flags u32 (1 = last) | message_len u32 | items u32
//!          taken_at u64 | handler u64 | preprocess u64 | inference u64 | postprocess u64 (ns) | message
//!          per item: index u32 | status u32 | phrase_len u32 (MAX = none) | headers u32 | body_len u64
//!                    phrase | headers as above | body
//! ```

mod cursor;
mod reply;
mod request;

pub use reply::{Reply, ReplyItem, ReplyItemRef, ReplyRef, ReplyTimes};
pub use request::{InputRef, RequestView, ValueRef, request_len, write_request};

pub(crate) use cursor::Sink;
pub(crate) use reply::{parse_reply, reply_len, write_reply};

/// Version of the link's and the records' layout; both ends must have the same.
pub const LAYOUT_VERSION: u32 = 2;

/// A record that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed record: {0}")]
pub struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// What is wrong.
    pub fn reason(self) -> &'static str {
        self.0
    }
}

/// Builds one request record, sized before it is written.
///
/// ```
/// use tserve_shm::wire::{InputRef, RequestView, RequestWriter, ValueRef};
///
/// let body = InputRef { name: "body", content_type: "text/plain", value: ValueRef::Inline(b"hi") };
/// let writer = RequestWriter { id: "7", headers: &[("Accept", "*/*")], inputs: &[body] };
/// let mut record = vec![0; writer.encoded_len()];
/// writer.write(&mut record);
/// assert_eq!(RequestView::parse(&record)?.id(), "7");
/// # Ok::<(), tserve_shm::wire::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequestWriter<'a> {
    /// The request's id.
    pub id: &'a str,
    /// Headers in the order the handler shall see them.
    pub headers: &'a [(&'a str, &'a str)],
    /// Inputs in the order the client sent them.
    pub inputs: &'a [InputRef<'a>],
}

impl RequestWriter<'_> {
    /// Bytes that the record will take.
    pub fn encoded_len(&self) -> usize {
        request_len(self.id, self.headers, self.inputs)
    }

    /// Writes the record.
    ///
    /// # Panics
    ///
    /// When `out` is not exactly [`encoded_len`](Self::encoded_len) bytes.
    pub fn write(&self, out: &mut [u8]) {
        write_request(out, self.id, self.headers, self.inputs);
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests;
