//! Limits, framing rules and split-anywhere behaviour of request heads.

use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> Result<Head, Malformed> {
    let end = HeadScanner::default().find_end(bytes)?.ok_or(Malformed)?;
    let mut head = Head::default();
    head.parse(&bytes[..end])?;
    Ok(head)
}

fn framing(headers: &str) -> Result<Framing, Malformed> {
    parse(format!("POST /x HTTP/1.1\r\n{headers}\r\n").as_bytes()).map(|head| head.framing)
}

#[test]
fn a_head_keeps_the_clients_spelling() {
    let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nX-Probe: Value \r\nx-probe:2\r\nContent-Type: a/b; c\r\n\r\nrest";
    let head = parse(bytes).unwrap();
    let view = head.view(bytes);
    assert_eq!(view.method(), "POST");
    assert_eq!(view.target(), "/a?b");
    assert_eq!(view.content_type(), "a/b; c");
    let headers: Vec<_> = view.headers().collect();
    assert_eq!(headers[0], ("X-Probe", &b"Value"[..]));
    assert_eq!(headers[1], ("x-probe", &b"2"[..]));
    assert_eq!(&bytes[head.len..], b"rest");
}

#[test]
fn header_values_are_latin1() {
    assert_eq!(latin1(b"caf\xe9"), "caf\u{e9}");
    let bytes = b"GET / HTTP/1.1\r\nX: caf\xe9\r\n\r\n";
    let head = parse(bytes).unwrap();
    assert!(!head.view(bytes).is_ascii());
    assert_eq!(
        head.view(bytes).headers().next(),
        Some(("X", &b"caf\xe9"[..]))
    );
}

#[test]
fn the_request_line_may_have_4096_bytes_and_no_more() {
    let line = |n: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(n - 14));
    assert!(parse(line(4096).as_bytes()).is_ok());
    assert_eq!(parse(line(4097).as_bytes()), Err(Malformed));
    let endless = vec![b'a'; 4098];
    assert_eq!(HeadScanner::default().find_end(&endless), Err(Malformed));
    let blank = b"\r\n".repeat(4000);
    assert_eq!(HeadScanner::default().find_end(&blank), Err(Malformed));
}

#[test]
fn headers_may_have_8192_bytes_together_and_no_more() {
    let head = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\nB: 1\r\n\r\n", "b".repeat(n - 7));
    assert!(parse(head(8192).as_bytes()).is_ok());
    assert_eq!(parse(head(8193).as_bytes()), Err(Malformed));
}

#[test]
fn many_small_headers_are_legal() {
    let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(2000));
    let parsed = parse(head.as_bytes()).unwrap();
    assert_eq!(parsed.view(head.as_bytes()).header_count(), 2000);
}

#[test]
fn nonsense_is_malformed() {
    for bytes in [
        &b"NONSENSE\r\n\r\n"[..],
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_eq!(parse(bytes), Err(Malformed), "{bytes:?}");
    }
}

#[test]
fn ambiguous_framing_is_malformed() {
    assert_eq!(framing(""), Ok(Framing::None));
    assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(
        framing("Content-Length: 99999999999999999999999\r\n"),
        Ok(Framing::Length(u64::MAX))
    );
    assert_eq!(
        framing("Transfer-Encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
    for bad in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        assert_eq!(framing(bad), Err(Malformed), "{bad}");
    }
    assert_eq!(
        parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(Malformed)
    );
}

#[test]
fn expectations_count_from_http11_on() {
    let expect = |version: &str, value: &str| {
        let text = format!("POST / HTTP/{version}\r\nExpect: {value}\r\n\r\n");
        parse(text.as_bytes()).unwrap().expect
    };
    assert_eq!(expect("1.1", "100-Continue"), Expect::Continue);
    assert_eq!(expect("1.1", "tea"), Expect::Unsupported);
    assert_eq!(expect("1.0", "tea"), Expect::Nothing);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn http_like_bytes_never_panic(text in "[A-Z]{1,5} /[ -~]{0,30} HTTP/1\\.[01]\r?\n([ -~]{0,30}\r?\n){0,5}\r?\n") {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn a_head_in_pieces_ends_where_the_whole_head_ends(
        text in "(\r\n){0,2}[A-Z]{1,5} /[a-z]{0,9} HTTP/1\\.1\r\n([a-z]{1,5}: [ -~]{0,20}\r\n){0,5}\r\n[a-z]{0,9}",
        cuts in prop::collection::vec(0usize..200, 0..8),
    ) {
        let bytes = text.as_bytes();
        let whole = HeadScanner::default().find_end(bytes);
        let mut cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut < bytes.len()).collect();
        cuts.sort_unstable();
        let mut scanner = HeadScanner::default();
        let mut found = Ok(None);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            found = scanner.find_end(&bytes[..cut]);
            if found != Ok(None) {
                break;
            }
        }
        prop_assert_eq!(found, whole);
    }
}
