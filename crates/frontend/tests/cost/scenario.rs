//! The requests whose cost is counted.

/// One kind of request, sent over and over.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One request as it goes over the wire.
    pub(crate) request: Vec<u8>,
    /// Requests that are sent before the first answer is read, each on its own connection.
    pub(crate) connections: usize,
    /// Whether it is `predict 1 KiB` made dearer on purpose, and sent in two pieces: a check of the
    /// checks.
    pub(crate) is_dearer: bool,
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let plain = |name, request| Scenario {
        name,
        request,
        connections: 1,
        is_dearer: false,
    };
    vec![
        plain("ping", head("GET", "/ping", "", &[])),
        plain(
            "predict 1 KiB",
            head("POST", "/predictions/noop", "", &[7; 1024]),
        ),
        plain(
            "predict 64 KiB",
            head("POST", "/predictions/noop", "", &[7; 65536]),
        ),
        Scenario {
            connections: 8,
            ..plain(
                "predict 1 KiB, batches of 8",
                head("POST", "/predictions/batched", "", &[7; 1024]),
            )
        },
        Scenario {
            is_dearer: true,
            ..plain(
                "predict, dearer",
                head(
                    "POST",
                    "/predictions/n%6f%6fp",
                    &"x-more: some text that the server has to carry along\r\n".repeat(20),
                    &[7; 1024],
                ),
            )
        },
    ]
}

/// Headers as curl sends them.
fn head(method: &str, path: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\n\
         Accept: */*\r\nContent-Type: application/octet-stream\r\n{more}"
    )
    .into_bytes();
    if method == "POST" {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}
