//! The HTTP adapter without sockets: heads parsed, routes found, answers written.
//!
//! `cargo bench -p tserve-frontend --features bench --bench http`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tserve_frontend::http::bench::Adapter;
use tserve_frontend::service::InferenceReply;

/// As curl sends it.
const FEW_HEADERS: &str = "POST /predictions/digits HTTP/1.1\r\n\
    Host: 127.0.0.1:8080\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 1024\r\n\r\n";

/// As a browser behind a proxy sends it.
fn many_headers() -> String {
    let more: Vec<_> = (0..24)
        .map(|number| format!("X-Forwarded-{number}: some text of the usual length, {number}"))
        .collect();
    format!(
        "{}\r\n{}\r\n\r\n",
        FEW_HEADERS.trim_end(),
        more.join("\r\n")
    )
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, head) in [
        ("5 headers", FEW_HEADERS.to_owned()),
        ("29 headers", many_headers()),
    ] {
        let bytes = head.as_bytes();
        let mut adapter = Adapter::default();
        assert_eq!(adapter.parse(bytes), bytes.len());
        assert_eq!(adapter.route(bytes), "digits".len());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| adapter.parse(black_box(bytes)));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("route {name}"), |bencher| {
            bencher.iter(|| adapter.route(black_box(bytes)));
        });
    }
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("response");
    let mut adapter = Adapter::default();
    for length in [2, 16 << 10] {
        let reply = InferenceReply {
            status: 200,
            phrase: None,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(vec![b'x'; length]),
            stages: None,
        };
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("write {length} bytes"), |bencher| {
            bencher.iter_batched(
                || reply.clone(),
                |reply| adapter.respond(reply),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, requests, responses);
criterion_main!(benches);
