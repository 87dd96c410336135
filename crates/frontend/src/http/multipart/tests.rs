//! Parts are found where they lie, and garbage holds none.

use proptest::prelude::*;

use super::*;

fn found(body: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    parse(body, "B")
        .unwrap()
        .into_iter()
        .map(|part| (part.name, part.content_type, body[part.range].to_vec()))
        .collect()
}

fn part(name: &str, content_type: &str, value: &[u8]) -> (String, String, Vec<u8>) {
    (name.to_owned(), content_type.to_owned(), value.to_vec())
}

#[test]
fn boundaries_are_read_with_and_without_quotes() {
    let read = |text| boundary(text).unwrap_or_default();
    assert_eq!(read("multipart/form-data; boundary=abc"), "abc");
    assert_eq!(
        read("multipart/form-data; charset=x; BOUNDARY=\"a;b\"; x=y"),
        "a;b"
    );
    assert_eq!(read("multipart/form-data"), "");
    assert_eq!(read("multipart/form-data; boundary="), "");
    assert_eq!(read("multipart/mixed; boundary=abc"), "");
    assert_eq!(read("Multipart/Form-Data; boundary=abc"), "");
}

#[test]
fn fields_and_files_are_told_apart() {
    let body = b"preamble\r\n--B\r\n\
        Content-Disposition: form-data; name=\"one\"\r\nContent-Type: text/plain\r\n\r\n1\r\n--B  \r\n\
        content-disposition: form-data; name=file; filename=\"f;=.bin\"\r\n\r\n\x00\r\n--Bx\n\r\n--B\r\n\
        Content-Disposition: form-data; name=\"m\\\"n\"; filename=\"m\"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{}\r\n\
        --B--\r\nepilogue\r\n--B\r\n";
    assert_eq!(
        found(body),
        [
            part("one", "", b"1"),
            part("file", DEFAULT_FILE_TYPE, b"\x00\r\n--Bx\n"),
            part("m\\n", "application/json", b"{}"),
        ]
    );
}

#[test]
fn empty_parts_and_bare_line_feeds_are_fine() {
    let body = b"--B\nContent-Disposition: form-data; name=a\n\n\n--B\r\n\
        Content-Disposition: form-data; name=b\r\n\r\n--B\r\n\
        Content-Disposition: form-data; name=c\r\n\r\n\r\n--B--";
    assert_eq!(
        found(body),
        [part("a", "", b""), part("b", "", b""), part("c", "", b"")]
    );
}

#[test]
fn garbage_and_unfinished_parts_hold_nothing() {
    assert_eq!(found(b"garbage"), []);
    assert_eq!(found(b""), []);
    assert_eq!(found(b"--B"), []);
    assert_eq!(
        found(b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\nunfinished"),
        []
    );
}

#[test]
fn parts_that_cannot_be_passed_on_are_named() {
    let message = |headers: &str| {
        let body = format!("--B\r\n{headers}\r\n\r\nx\r\n--B--");
        parse(body.as_bytes(), "B").unwrap_err().to_string()
    };
    for nameless in [
        "Content-Disposition: form-data",
        "Content-Disposition: attachment; name=a",
        "Content-Disposition: form-data; name=\"\"",
        "Content-Type: text/plain",
    ] {
        assert_eq!(message(nameless), "empty name");
    }
    assert_eq!(
        message("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: Base64"),
        "TransferEncoding Unknown: base64"
    );
}

#[test]
fn names_lose_their_separators() {
    let body = b"--B\r\nContent-Disposition: form-data; name=\"a:b,c=d;e\"\r\n\r\nx\r\n--B--";
    assert_eq!(found(body), [part("a b c d e", "", b"x")]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&body, "B");
    }

    #[test]
    fn multipart_like_text_never_panics(body in "(--B|\r\n|\n|--|name=|\"|Content-Disposition: |;|x|:){0,40}") {
        for part in parse(body.as_bytes(), "B").unwrap_or_default() {
            prop_assert!(part.range.end <= body.len() && part.range.start <= part.range.end);
        }
    }

    #[test]
    fn parts_come_back(
        parts in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let boundary = "a-boundary-that-no-value-holds";
        let mut body = Vec::new();
        for (name, value) in &parts {
            body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let found: Vec<_> = parse(&body, boundary)
            .unwrap()
            .into_iter()
            .map(|part| (part.name, body[part.range].to_vec()))
            .collect();
        prop_assert_eq!(found, parts);
    }
}
