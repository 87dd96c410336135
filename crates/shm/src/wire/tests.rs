//! Round trips of records, and parsing of what no sound peer writes.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    InputRef, Reply, ReplyItem, ReplyItemRef, ReplyRef, ReplyTimes, RequestView, RequestWriter,
    Sink, ValueRef, parse_reply, reply_len, write_reply,
};

/// Collects a frame on the heap.
struct Collected(Vec<u8>);

impl Sink for Collected {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[derive(Clone, Debug)]
struct Input {
    name: String,
    content_type: String,
    inline: Option<Vec<u8>>,
    span: (u64, u64),
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((".{0,8}", ".{0,8}"), 0..5)
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect()
}

fn input() -> impl Strategy<Value = Input> {
    let inline = proptest::option::of(vec(any::<u8>(), 0..40));
    (".{0,8}", ".{0,8}", inline, any::<(u64, u64)>()).prop_map(
        |(name, content_type, inline, span)| Input {
            name,
            content_type,
            inline,
            span,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let body = vec(any::<u8>(), 0..60).prop_map(Bytes::from);
    let parts = (
        any::<u32>(),
        any::<u32>(),
        proptest::option::of(".{0,8}"),
        pairs(),
        body,
    );
    let item = parts.prop_map(|(index, status, phrase, headers, body)| ReplyItem {
        index,
        status,
        phrase,
        headers,
        body,
    });
    let times = any::<[u64; 5]>().prop_map(|[taken_at_ns, handler_ns, steps_ns @ ..]| ReplyTimes {
        taken_at_ns,
        handler_ns,
        steps_ns,
    });
    let items = vec(item, 0..5);
    (any::<u32>(), ".{0,20}", any::<bool>(), times, items).prop_map(
        |(code, message, is_last, times, items)| Reply {
            code,
            message,
            is_last,
            times,
            items,
        },
    )
}

fn encoded(batch_id: u64, reply: &Reply) -> Vec<u8> {
    let headers: Vec<_> = reply
        .items
        .iter()
        .map(|item| borrowed(&item.headers))
        .collect();
    let items: Vec<_> = reply
        .items
        .iter()
        .zip(&headers)
        .map(|(item, headers)| ReplyItemRef {
            index: item.index,
            status: item.status,
            phrase: item.phrase.as_deref(),
            headers,
            body: &item.body,
        })
        .collect();
    let frame = ReplyRef {
        batch_id,
        code: reply.code,
        message: &reply.message,
        is_last: reply.is_last,
        times: reply.times,
        items: &items,
    };
    let mut sink = Collected(Vec::new());
    write_reply(&mut sink, &frame);
    assert_eq!(sink.0.len() as u64, reply_len(&frame));
    sink.0
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(
        id in ".{0,40}", headers in pairs(), inputs in vec(input(), 0..5),
    ) {
        let headers = borrowed(&headers);
        let inputs: Vec<_> = inputs.iter().map(|input| InputRef {
            name: &input.name,
            content_type: &input.content_type,
            value: input.inline.as_deref().map_or(
                ValueRef::Arena { offset: input.span.0, len: input.span.1 },
                ValueRef::Inline,
            ),
        }).collect();
        let writer = RequestWriter { id: &id, headers: &headers, inputs: &inputs };
        let mut record = vec![0xff; writer.encoded_len()];
        writer.write(&mut record);
        let view = RequestView::parse(&record).unwrap();
        prop_assert_eq!(view.id(), &id);
        prop_assert_eq!(view.headers(), &headers[..]);
        prop_assert_eq!(view.inputs(), &inputs[..]);
        // Neither a shortened nor a lengthened record passes.
        for len in 0..record.len() {
            prop_assert!(RequestView::parse(&record[..len]).is_err());
        }
        record.push(0);
        prop_assert!(RequestView::parse(&record).is_err());
    }

    #[test]
    fn a_reply_reads_back_as_it_was_written(batch_id in any::<u64>(), reply in reply()) {
        let mut frame = encoded(batch_id, &reply);
        let parsed = parse_reply(Bytes::from(frame.clone())).unwrap();
        prop_assert_eq!(parsed, (batch_id, reply));
        for len in 0..frame.len() {
            prop_assert!(parse_reply(Bytes::copy_from_slice(&frame[..len])).is_err());
        }
        frame.push(0);
        prop_assert!(parse_reply(Bytes::from(frame)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = RequestView::parse(&bytes);
        let _ = parse_reply(Bytes::from(bytes));
    }

    #[test]
    fn damaged_replies_never_panic(
        reply in reply(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut frame = encoded(1, &reply);
        for (place, byte) in damage {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        let frame = Bytes::from(frame);
        if let Ok((_, reply)) = parse_reply(frame.clone()) {
            let bodies: usize = reply.items.iter().map(|item| item.body.len()).sum();
            prop_assert!(bodies <= frame.len());
        }
    }

    #[test]
    fn small_counts_and_lengths_never_panic(words in vec(0_u32..12, 0..60)) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let _ = RequestView::parse(&bytes);
        let _ = parse_reply(Bytes::from(bytes));
    }
}

#[test]
fn a_claimed_count_reserves_no_memory() {
    // u32::MAX headers in a record of a few bytes.
    let mut record = vec![0; 12];
    record[4..8].fill(0xff);
    assert!(RequestView::parse(&record).is_err());
    let mut frame = vec![0; 24];
    frame[20..24].fill(0xff);
    assert!(parse_reply(Bytes::from(frame)).is_err());
}

#[test]
#[should_panic(expected = "fills its space exactly")]
fn a_record_must_fit_its_space() {
    let writer = RequestWriter {
        id: "x",
        headers: &[],
        inputs: &[],
    };
    writer.write(&mut vec![0; writer.encoded_len() + 1]);
}
