//! Parses and judges answers.

use std::io;

/// What an answer turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More of it has to come.
    Incomplete,
    /// Status 200 and the expected body. Answers say whether the server closes the connection.
    Right { closes: bool },
    /// Anything else.
    Wrong { closes: bool },
}

/// Judges what has been received of an answer.
///
/// # Errors
/// It is not HTTP/1, or has no length: chunked answers are not understood.
pub(crate) fn judge(received: &[u8], expected: Option<&[u8]>) -> io::Result<Progress> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(received).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(Progress::Incomplete),
    };
    let mut length = None;
    let mut closes = false;
    for header in answer.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse::<usize>().ok());
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = length.ok_or_else(|| io::Error::other("an answer without content-length"))?;
    if received.len() < head + length {
        return Ok(Progress::Incomplete);
    }
    let right = answer.code == Some(200)
        && received.len() == head + length
        && expected.is_none_or(|body| body == &received[head..]);
    Ok(if right {
        Progress::Right { closes }
    } else {
        Progress::Wrong { closes }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: &[u8], expected: Option<&[u8]>) -> Progress {
        judge(answer, expected).expect("the answer parses")
    }

    #[test]
    fn answers_are_complete_with_their_last_byte() {
        let answer = b"HTTP/1.1 200 \r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok";
        for end in 0..answer.len() {
            assert_eq!(judged(&answer[..end], Some(b"ok")), Progress::Incomplete);
        }
        assert_eq!(
            judged(answer, Some(b"ok")),
            Progress::Right { closes: false }
        );
    }

    #[test]
    fn other_bodies_and_statuses_are_wrong() {
        let answer = b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(
            judged(answer, Some(b"ok")),
            Progress::Wrong { closes: false }
        );
        assert_eq!(judged(answer, None), Progress::Right { closes: false });
        let error = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(judged(error, None), Progress::Wrong { closes: true });
    }

    #[test]
    fn answers_without_a_length_are_refused() {
        let chunked = b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert!(judge(chunked, None).is_err());
    }
}
