//! The chunked transfer coding, strictly: anything that two readers could read in two ways is
//! malformed. Extensions and trailers are read and dropped.

use super::head::Malformed;

/// Longest chunk-size line with its extensions.
const SIZE_LINE_LIMIT: usize = 1024;
/// Most bytes of trailers.
const TRAILERS_LIMIT: usize = 8192;

/// Where the decoder stands between two pieces of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the hexadecimal digits of a chunk size.
    Size { value: u64, digits: u8 },
    /// In a chunk extension, up to the line end.
    Extension { value: u64, length: usize },
    /// After the carriage return of a size line.
    SizeEnd { value: u64 },
    /// In chunk data.
    Data { left: u64 },
    /// Before the carriage return after chunk data.
    DataReturn,
    /// Before the line feed after chunk data.
    DataFeed,
    /// In the trailers; `blank` while nothing of the current line has been seen.
    Trailer { length: usize, blank: bool },
    /// After a carriage return in the trailers.
    TrailerFeed { length: usize, blank: bool },
    /// After the last line feed.
    Done,
}

/// An incremental decoder; a body may arrive in any pieces.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: State,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: 0,
            },
        }
    }
}

impl ChunkedDecoder {
    /// Whether the whole body has been read.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes from the front of `input` and hands every run of data to `sink`. Returns how many
    /// bytes it used: all of them, unless the body ended before.
    ///
    /// # Errors
    /// The framing is broken; the rest of the connection means nothing.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            self.state = match self.state {
                State::Done => break,
                State::Data { left } => {
                    let room = usize::try_from(left).unwrap_or(usize::MAX);
                    let run = room.min(input.len() - at);
                    sink(&input[at..at + run]);
                    at += run;
                    self.state = match left - run as u64 {
                        0 => State::DataReturn,
                        left => State::Data { left },
                    };
                    continue;
                }
                State::Size { value, digits } => size_byte(value, digits, byte)?,
                State::Extension { value, length } => match byte {
                    b'\r' => State::SizeEnd { value },
                    b'\n' => return Err(Malformed),
                    _ if length >= SIZE_LINE_LIMIT => return Err(Malformed),
                    _ => State::Extension {
                        value,
                        length: length + 1,
                    },
                },
                State::SizeEnd { value } => match (byte, value) {
                    (b'\n', 0) => State::Trailer {
                        length: 0,
                        blank: true,
                    },
                    (b'\n', left) => State::Data { left },
                    _ => return Err(Malformed),
                },
                State::DataReturn if byte == b'\r' => State::DataFeed,
                State::DataFeed if byte == b'\n' => Self::default().state,
                State::Trailer { length, blank } => match byte {
                    b'\r' => State::TrailerFeed { length, blank },
                    b'\n' => return Err(Malformed),
                    _ if length >= TRAILERS_LIMIT => return Err(Malformed),
                    _ => State::Trailer {
                        length: length + 1,
                        blank: false,
                    },
                },
                State::TrailerFeed { blank: true, .. } if byte == b'\n' => State::Done,
                State::TrailerFeed { length, .. } if byte == b'\n' => State::Trailer {
                    length: length + 1,
                    blank: true,
                },
                State::DataReturn | State::DataFeed | State::TrailerFeed { .. } => {
                    return Err(Malformed);
                }
            };
            at += 1;
        }
        Ok(at)
    }
}

fn size_byte(value: u64, digits: u8, byte: u8) -> Result<State, Malformed> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ if digits == 0 => return Err(Malformed),
        b'\r' => return Ok(State::SizeEnd { value }),
        // RFC 9112 allows blanks before an extension and nothing else after the digits.
        b';' | b' ' | b'\t' => return Ok(State::Extension { value, length: 0 }),
        _ => return Err(Malformed),
    };
    // Fifteen digits are 2^60 bytes: no honest chunk has more, and none may overflow.
    if digits == 15 {
        return Err(Malformed);
    }
    Ok(State::Size {
        value: value << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut decoder = ChunkedDecoder::default();
        let (mut body, mut used) = (Vec::new(), 0);
        for piece in pieces {
            used += decoder.decode(piece, |run| body.extend_from_slice(run))?;
        }
        Ok((body, used, decoder.is_done()))
    }

    #[test]
    fn chunks_become_one_body_and_the_next_request_is_left_alone() {
        let wire = b"4\r\none \r\n4;a=b\r\ntwo \r\n5 ;x\r\nthree\r\n0\r\nTrailer: x\r\n\r\nGET /";
        let (body, used, done) = decode(&[wire]).unwrap();
        assert_eq!(body, b"one two three");
        assert_eq!(&wire[used..], b"GET /");
        assert!(done);
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for wire in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x4\r\n",
            b"4\nabcd\r\n",
            b"4\r\nabcdX\r\n",
            b"4\r\nabcde",
            b"4\r\nabcd\n",
            b"fffffffffffffffff\r\n",
            b"4;a\nabcd",
            b"0\r\na\n\r\n",
            b"4 4x\rabcd",
        ] {
            assert_eq!(decode(&[wire]), Err(Malformed), "{wire:?}");
        }
        let endless = [b"4;".to_vec(), vec![b'a'; 2000]].concat();
        assert_eq!(decode(&[&endless]), Err(Malformed));
        let trailers = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(3000)].concat();
        assert_eq!(decode(&[&trailers]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn a_body_in_pieces_decodes_as_the_whole(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0usize..300, 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut < wire.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([wire.len()]) {
                pieces.push(&wire[start..cut]);
                start = cut;
            }
            let (body, used, done) = decode(&pieces).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(used, wire.len());
            prop_assert!(done);
        }
    }
}
