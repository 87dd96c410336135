//! Heads and bodies as clients of the original know them.

use super::*;

fn head(response: &Response, cors: &Cors, closes: bool) -> String {
    let mut out = Vec::new();
    response.write_head(&mut out, Some("the-id"), &CorsHeaders::new(cors), closes);
    String::from_utf8(out).unwrap()
}

fn reply(status: u16, headers: &[(&str, &str)]) -> InferenceReply {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    InferenceReply {
        status,
        phrase: None,
        headers: headers.iter().map(own).collect(),
        body: Bytes::from_static(b"noop"),
        stages: None,
    }
}

#[test]
fn a_prediction_has_an_empty_phrase_and_no_content_type() {
    let response = Response::reply(reply(200, &[]));
    assert_eq!(
        head(&response, &Cors::default(), false),
        "HTTP/1.1 200 \r\nx-request-id: the-id\r\nPragma: no-cache\r\n\
         Cache-Control: no-cache; no-store, must-revalidate, private\r\n\
         Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\ncontent-length: 4\r\nconnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn an_error_is_an_object_with_a_line_end() {
    let response = Response::error(&Error::ResourceNotFound);
    assert_eq!(response.status(), 404);
    assert_eq!(
        &response.body()[..],
        b"{\n  \"code\": 404,\n  \"type\": \"ResourceNotFoundException\",\n  \"message\": \
          \"Requested resource is not found, please refer to API document.\"\n}\n"
    );
    let text = head(&response, &Cors::default(), true);
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n"));
    assert!(text.ends_with("connection: close\r\n\r\n"));
}

#[test]
fn handlers_cannot_touch_the_servers_headers_nor_split_the_response() {
    let response = Response::reply(reply(
        200,
        &[
            ("Cache-Control", "max-age=5"),
            ("Transfer-Encoding", "chunked"),
            ("X-Mine", "1\r\nevil: 2"),
            ("bad name", "x"),
            ("content-type", "text/x"),
        ],
    ));
    let text = head(&response, &Cors::default(), false);
    assert!(!text.contains("max-age") && !text.contains("chunked") && !text.contains("bad name"));
    assert!(text.contains("X-Mine: 1  evil: 2\r\n"));
    assert!(text.contains("content-type: text/x\r\n"));
}

#[test]
fn statuses_that_cannot_end_a_response_are_an_error() {
    for status in [0, 100, 199, 1000] {
        assert_eq!(Response::reply(reply(status, &[])).status(), 500);
    }
    let error = Error::Worker {
        status: 7,
        message: "x".to_owned(),
    };
    assert_eq!(Response::error(&error).status(), 500);
    let text = head(&Response::reply(reply(204, &[])), &Cors::default(), false);
    assert!(!text.contains("content-length"));
}

#[test]
fn unknown_statuses_get_a_made_up_phrase() {
    let line = |status| {
        let error = Error::Worker {
            status,
            message: String::new(),
        };
        let text = head(&Response::error(&error), &Cors::default(), true);
        text.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(line(418), "HTTP/1.1 418 Client Error (418)");
    assert_eq!(line(599), "HTTP/1.1 599 Server Error (599)");
    assert_eq!(line(413), "HTTP/1.1 507 Insufficient Storage");
}

#[test]
fn cors_headers_are_added_unless_the_handler_has_set_them() {
    let cors = Cors {
        allow_origin: Some("https://example.test".to_owned()),
        allow_methods: Some(String::new()),
        allow_headers: None,
    };
    let text = head(&Response::status_text(200, "x"), &cors, false);
    assert!(text.contains("access-control-allow-origin: https://example.test\r\n"));
    assert!(!text.contains("allow-methods"));
    let own = Response::reply(reply(200, &[("Access-Control-Allow-Origin", "*")]));
    assert!(!head(&own, &cors, false).contains("example.test"));
}
