//! Reply frames: written by the worker into its reply area, copied out and checked by the server.

use std::ops::Range;

use bytes::{Buf as _, Bytes};

use super::{
    Malformed,
    cursor::{Cursor, Sink},
};

const FIXED_BYTES: u64 = 64;
const ITEM_BYTES: u64 = 24;
const HEADER_BYTES: u64 = 8;
const FLAG_LAST: u32 = 1;
const NO_PHRASE: u32 = u32::MAX;

/// What a worker answered to a batch, or to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200, or the code of the failure that befell the whole batch.
    pub code: u32,
    /// What the worker says about `code`.
    pub message: String,
    /// No more frames follow for this batch.
    pub is_last: bool,
    /// What the worker says about its time.
    pub times: ReplyTimes,
    /// One per request that this frame answers.
    pub items: Vec<ReplyItem>,
}

/// Where a worker's time with a batch went, as it says itself; zero is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyTimes {
    /// When it took the batch, as [`monotonic_ns`](crate::monotonic_ns) told it.
    pub taken_at_ns: u64,
    /// How long the handler has run.
    pub handler_ns: u64,
    /// How long the steps of the handler took, if it has such: preprocess, inference, postprocess.
    pub steps_ns: [u64; 3],
}

/// The answer to one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyItem {
    /// Place of the request in its batch; below the link's largest batch, but not checked further.
    pub index: u32,
    /// HTTP status as the handler set it; any number.
    pub status: u32,
    /// Reason phrase; `None` for the default one.
    pub phrase: Option<String>,
    /// Header names and values; any UTF-8, to be checked before they go into a head.
    pub headers: Vec<(String, String)>,
    /// A slice of the server's own copy of the frame.
    pub body: Bytes,
}

/// The answer to one request, as the worker hands it over.
#[derive(Clone, Copy, Debug)]
pub struct ReplyItemRef<'a> {
    /// Place of the request in its batch.
    pub index: u32,
    /// HTTP status.
    pub status: u32,
    /// Reason phrase; `None` for the default one.
    pub phrase: Option<&'a str>,
    /// Header names and values in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The payload.
    pub body: &'a [u8],
}

/// One frame, as the worker hands it over.
#[derive(Clone, Copy, Debug)]
pub struct ReplyRef<'a> {
    /// As in the submission.
    pub batch_id: u64,
    /// 200, or the code of the failure that befell the whole batch.
    pub code: u32,
    /// What there is to say about `code`.
    pub message: &'a str,
    /// Whether the batch is answered with this.
    pub is_last: bool,
    /// Where the time went.
    pub times: ReplyTimes,
    /// Answers to requests of the batch.
    pub items: &'a [ReplyItemRef<'a>],
}

/// Bytes that a frame takes.
pub(crate) fn reply_len(reply: &ReplyRef<'_>) -> u64 {
    let items: u64 = reply
        .items
        .iter()
        .map(|item| {
            let headers: u64 = item
                .headers
                .iter()
                .map(|(name, value)| HEADER_BYTES + name.len() as u64 + value.len() as u64)
                .sum();
            let phrase = item.phrase.map_or(0, str::len) as u64;
            ITEM_BYTES + phrase + headers + item.body.len() as u64
        })
        .sum();
    FIXED_BYTES + reply.message.len() as u64 + items
}

/// Appends a frame.
pub(crate) fn write_reply(sink: &mut impl Sink, reply: &ReplyRef<'_>) {
    sink.put_u64(reply.batch_id);
    sink.put_u32(reply.code);
    sink.put_u32(if reply.is_last { FLAG_LAST } else { 0 });
    sink.put_len(reply.message.len());
    sink.put_len(reply.items.len());
    sink.put_u64(reply.times.taken_at_ns);
    sink.put_u64(reply.times.handler_ns);
    for step in reply.times.steps_ns {
        sink.put_u64(step);
    }
    sink.put(reply.message.as_bytes());
    for item in reply.items {
        sink.put_u32(item.index);
        sink.put_u32(item.status);
        match item.phrase {
            None => sink.put_u32(NO_PHRASE),
            Some(phrase) => sink.put_len(phrase.len()),
        }
        sink.put_len(item.headers.len());
        sink.put_u64(item.body.len() as u64);
        sink.put(item.phrase.unwrap_or_default().as_bytes());
        for header in item.headers {
            sink.put_pair(*header);
        }
        sink.put(item.body);
    }
}

/// Checks a frame that was copied out of shared memory; yields the batch's id and its reply.
pub(crate) fn parse_reply(mut frame: Bytes) -> Result<(u64, Reply), Malformed> {
    let mut cursor = Cursor::new(&frame);
    let batch_id = cursor.u64()?;
    let (code, flags) = (cursor.u32()?, cursor.u32()?);
    let (message_len, item_count) = (cursor.u32()?, cursor.u32()?);
    let times = ReplyTimes {
        taken_at_ns: cursor.u64()?,
        handler_ns: cursor.u64()?,
        steps_ns: [cursor.u64()?, cursor.u64()?, cursor.u64()?],
    };
    if flags & !FLAG_LAST != 0 {
        return Err(Malformed("a reply has unknown flags"));
    }
    let message = cursor.str(message_len)?.to_owned();
    let mut items = Vec::with_capacity(cursor.plausible(item_count, ITEM_BYTES as usize));
    let mut last_body = 0..0;
    for number in 1..=item_count {
        let (mut item, body) = parse_item(&mut cursor)?;
        if number < item_count {
            item.body = frame.slice(body);
        } else {
            last_body = body;
        }
        items.push(item);
    }
    if !cursor.is_at_end() {
        return Err(Malformed("bytes are left over"));
    }
    if let Some(last) = items.last_mut() {
        // It ends where the frame does: the copy as it is, without the allocation that sharing one
        // takes.
        frame.advance(last_body.start);
        last.body = frame;
    }
    let reply = Reply {
        code,
        message,
        is_last: flags == FLAG_LAST,
        times,
        items,
    };
    Ok((batch_id, reply))
}

/// One item without its body, and where in the frame that is.
fn parse_item(cursor: &mut Cursor<'_>) -> Result<(ReplyItem, Range<usize>), Malformed> {
    let (index, status) = (cursor.u32()?, cursor.u32()?);
    let (phrase_len, header_count) = (cursor.u32()?, cursor.u32()?);
    let body_len = cursor.u64()?;
    let phrase = match phrase_len {
        NO_PHRASE => None,
        len => Some(cursor.str(len)?.to_owned()),
    };
    let mut headers = Vec::with_capacity(cursor.plausible(header_count, HEADER_BYTES as usize));
    for _ in 0..header_count {
        let (name, value) = cursor.pair()?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    let start = cursor.position();
    let len = cursor.take(body_len)?.len();
    let item = ReplyItem {
        index,
        status,
        phrase,
        headers,
        body: Bytes::new(),
    };
    Ok((item, start..start + len))
}
