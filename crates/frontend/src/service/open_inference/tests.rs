//! Requests and answers of the protocol, good, bad and arbitrary.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::InferenceReply;
use super::answer::Asked;
use super::datatype::{byte_len, elements};
use super::json::{Texts, decode, encode, texts_of};
use super::*;

/// The bytes of the only input of a request.
fn data(body: &[u8], header_length: Option<usize>) -> Result<(InputTensor, Vec<u8>), String> {
    let request = InferRequest::read(body, header_length).map_err(|error| error.to_string())?;
    let tensor = request.inputs[0].clone();
    let bytes = tensor.bytes(body).map_err(|error| error.to_string())?;
    let bytes = bytes.into_owned();
    tensor.check_json(body).unwrap();
    Ok((tensor, bytes))
}

fn of_json(datatype: &str, shape: &Value, values: &Value) -> Result<Vec<u8>, String> {
    let input = json!({"name": "x", "datatype": datatype, "shape": shape, "data": values});
    let body = json!({ "inputs": [input] }).to_string();
    data(body.as_bytes(), None).map(|(_, bytes)| bytes)
}

fn refusal(datatype: &str, shape: &Value, values: &Value) -> String {
    of_json(datatype, shape, values).unwrap_err()
}

#[test]
fn every_datatype_is_read_from_json() {
    for (datatype, values, bytes) in [
        ("BOOL", json!([true, 0]), vec![1, 0]),
        ("UINT8", json!([0, 255]), vec![0, 255]),
        ("UINT16", json!([1, 65535]), vec![1, 0, 255, 255]),
        ("UINT32", json!([[1]]), vec![1, 0, 0, 0]),
        ("UINT64", json!([u64::MAX]), vec![255; 8]),
        ("INT8", json!([-1, -128]), vec![255, 128]),
        ("INT16", json!([-2]), vec![254, 255]),
        ("INT32", json!([2.0]), vec![2, 0, 0, 0]),
        ("INT64", json!([i64::MIN]), vec![0, 0, 0, 0, 0, 0, 0, 128]),
        ("FP16", json!([1.0]), vec![0, 0x3c]),
        ("BF16", json!([1.0]), vec![0x80, 0x3f]),
        ("FP32", json!([1.5]), 1.5_f32.to_le_bytes().to_vec()),
        (
            "FP64",
            json!([1, -0.1]),
            [1.0, -0.1_f64].map(f64::to_le_bytes).concat(),
        ),
        (
            "BYTES",
            json!(["é", ""]),
            vec![2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0],
        ),
    ] {
        let count = values.as_array().unwrap().len();
        assert_eq!(
            of_json(datatype, &json!([count]), &values).unwrap(),
            bytes,
            "{datatype}"
        );
    }
}

#[test]
fn what_is_no_such_tensor_is_refused_with_the_reason() {
    let one = json!([1]);
    for (datatype, shape, values, reason) in [
        ("FP8", one.clone(), json!([1]), "unknown datatype \"FP8\""),
        ("INT8", one.clone(), json!([128]), "128 is no INT8"),
        ("UINT8", one.clone(), json!([-1]), "-1 is no UINT8"),
        ("INT32", one.clone(), json!([1.5]), "1.5 is no INT32"),
        ("FP32", one.clone(), json!(["1"]), "a text is no FP32"),
        ("FP32", one.clone(), json!([true]), "true is no FP32"),
        ("BYTES", one.clone(), json!([1]), "1 is no BYTES"),
        ("FP32", one.clone(), json!([null]), "null"),
        ("FP32", one.clone(), json!(1), "not an array"),
        (
            "FP32",
            one.clone(),
            json!([1, 2]),
            "more elements than the shape",
        ),
        (
            "FP32",
            json!([3]),
            json!([1, 2]),
            "2 elements where the shape has 3",
        ),
        ("FP32", json!([-1]), json!([]), "dimension -1"),
        (
            "FP32",
            json!([1_000_000, 1_000_000]),
            json!([1]),
            "fewer elements",
        ),
        (
            "FP32",
            json!([i64::MAX, i64::MAX]),
            json!([1]),
            "too many elements",
        ),
        ("FP32", json!([i64::MAX]), json!([1]), "fewer elements"),
        ("FP32", json!(vec![1; 33]), json!([1]), "33 dimensions"),
        ("FP32", json!("x"), json!([1]), "no inference request"),
    ] {
        let text = refusal(datatype, &shape, &values);
        assert!(text.contains(reason), "{datatype} {shape} {values}: {text}");
    }
    assert_eq!(elements(&[i64::MAX, 0, i64::MAX]).unwrap(), 0);
    assert!(byte_len(Datatype::Fp64, usize::MAX / 4).is_err());
}

fn with_tail(inputs: &Value, tail: &[u8]) -> (Vec<u8>, usize) {
    let mut body = json!({ "inputs": inputs }).to_string().into_bytes();
    let length = body.len();
    body.extend_from_slice(tail);
    (body, length)
}

#[test]
fn binary_inputs_follow_the_json() {
    let input = |name: &str, datatype: &str, shape: Value, size: Value| {
        let parameters = json!({ "binary_data_size": size });
        json!({"name": name, "datatype": datatype, "shape": shape, "parameters": parameters})
    };
    let inputs = json!([
        input("a", "INT16", json!([1, 2]), json!(4)),
        {"name": "b", "datatype": "INT8", "shape": [1], "data": [7]},
        input("c", "BYTES", json!([1]), json!(5)),
    ]);
    let (body, length) = with_tail(&inputs, b"\x01\x00\x02\x00\x01\x00\x00\x00z");
    let request = InferRequest::read(&body, Some(length)).unwrap();
    let bytes: Vec<_> = request
        .inputs
        .iter()
        .map(|it| it.bytes(&body).unwrap().into_owned())
        .collect();
    assert_eq!(
        bytes,
        [&b"\x01\x00\x02\x00"[..], b"\x07", b"\x01\x00\x00\x00z"]
    );
    for (input, tail, reason) in [
        (
            input("a", "INT16", json!([2]), json!(3)),
            &b"123"[..],
            "3 bytes where the shape has 4",
        ),
        (
            input("a", "INT16", json!([2]), json!(4)),
            b"123",
            "only 3 bytes are left",
        ),
        (
            input("a", "INT16", json!([2]), json!(u64::MAX)),
            b"1",
            "only 1 bytes are left",
        ),
        (input("a", "INT16", json!([2]), json!(-4)), b"1", "no size"),
        (
            input("a", "INT16", json!([1]), json!(2)),
            b"123",
            "1 bytes behind",
        ),
        (
            input("a", "BYTES", json!([2]), json!(4)),
            b"\0\0\0\0",
            "1 elements of BYTES where",
        ),
        (
            input("a", "BYTES", json!([1]), json!(5)),
            b"\x02\0\0\0x",
            "cut off",
        ),
        (
            json!({"name": "a", "datatype": "INT8", "shape": [1]}),
            b"",
            "neither data nor",
        ),
    ] {
        let (body, length) = with_tail(&json!([input]), tail);
        let text = InferRequest::read(&body, Some(length))
            .unwrap_err()
            .to_string();
        assert!(text.contains(reason), "{input}: {text}");
    }
    let text = InferRequest::read(&body, Some(body.len() + 1))
        .unwrap_err()
        .to_string();
    assert!(text.contains("Inference-Header-Content-Length"), "{text}");
}

#[test]
fn requests_as_a_whole_are_checked() {
    let tensor = json!({"name": "x", "datatype": "INT8", "shape": [1], "data": [1]});
    for (body, reason) in [
        (json!({"inputs": []}), "no inputs"),
        (json!({"inputs": [tensor, tensor]}), "occurs twice"),
        (
            json!({"inputs": [tensor], "parameters": {"binary_data_output": 1}}),
            "not true or false",
        ),
        (
            json!({"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}),
            "classification",
        ),
        (json!([]), "no inference request"),
    ] {
        let text = InferRequest::read(body.to_string().as_bytes(), None)
            .unwrap_err()
            .to_string();
        assert!(text.contains(reason), "{body}: {text}");
    }
    let body = json!({
        "id": "7", "inputs": [tensor], "parameters": {"binary_data_output": true, "k": "v"},
        "outputs": [{"name": "y", "parameters": {"binary_data": false}}],
    });
    let request = InferRequest::read(body.to_string().as_bytes(), None).unwrap();
    assert_eq!(
        (request.id.as_deref(), request.is_binary_wanted),
        (Some("7"), true)
    );
    assert_eq!(request.outputs[0].is_binary, Some(false));
    assert_eq!(request.parameters["k"], "v");
}

fn asked(request: &Value) -> Asked {
    let body = request.to_string();
    let request = InferRequest::read(body.as_bytes(), None).unwrap();
    Asked::of(&request, ("m", "1.0"), "made")
}

fn typed_reply(outputs: &Value, tail: &[u8]) -> InferenceReply {
    let mut body = json!({ "outputs": outputs }).to_string().into_bytes();
    let headers = vec![(
        "inference-header-content-length".to_owned(),
        body.len().to_string(),
    )];
    body.extend_from_slice(tail);
    InferenceReply {
        status: 200,
        phrase: None,
        headers,
        body: body.into(),
        stages: None,
    }
}

fn request_for(outputs: &Value, is_binary: bool) -> Value {
    json!({
        "inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}],
        "outputs": outputs, "parameters": {"binary_data_output": is_binary},
    })
}

#[test]
fn answers_are_json_or_bytes_as_the_client_asks() {
    let outputs = json!([
        {"name": "a", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "b", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}},
    ]);
    let reply = typed_reply(&outputs, b"\x01\x00\x02\x00\x01\x00\x00\x00\xff");
    let all = asked(&request_for(&json!([]), false))
        .rest(reply.clone())
        .unwrap();
    let document: Value = serde_json::from_slice(&all.body).unwrap();
    assert_eq!(
        document,
        json!({
            "id": "made", "model_name": "m", "model_version": "1.0", "outputs": [
                {"name": "a", "datatype": "INT16", "shape": [2], "data": [1, 2]},
                {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["/w=="],
                 "parameters": {"content_type": "base64"}},
            ],
        })
    );
    assert_eq!(
        all.headers,
        [("content-type".to_owned(), "application/json".to_owned())]
    );

    let wanted = json!([{"name": "b", "parameters": {"binary_data": true}}, {"name": "a"}]);
    let mixed = asked(&request_for(&wanted, false))
        .rest(reply.clone())
        .unwrap();
    let length: usize = mixed.headers[0].1.parse().unwrap();
    let document: Value = serde_json::from_slice(&mixed.body[..length]).unwrap();
    assert_eq!(document["outputs"][0]["parameters"]["binary_data_size"], 5);
    assert_eq!(document["outputs"][1]["data"], json!([1, 2]));
    assert_eq!(&mixed.body[length..], b"\x01\x00\x00\x00\xff");

    let missing = asked(&request_for(&json!([{"name": "c"}]), false)).rest(reply);
    assert_eq!(
        missing.unwrap_err().to_string(),
        "The model has no output \"c\"; it has a, b"
    );
}

#[test]
fn answers_of_an_envelope_stay_as_they_are_unless_bytes_are_asked_for() {
    let body = json!({"id": "1", "model_name": "m", "model_version": "2", "outputs": [
        {"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}]});
    let reply = InferenceReply {
        status: 200,
        phrase: None,
        headers: Vec::new(),
        body: body.to_string().into(),
        stages: None,
    };
    let plain = asked(&request_for(&json!([]), false))
        .rest(reply.clone())
        .unwrap();
    assert_eq!(plain, reply);
    let named = json!([{"name": "not the input's"}]);
    let binary = asked(&request_for(&named, true))
        .rest(reply.clone())
        .unwrap();
    assert!(binary.body.ends_with(&0.5_f32.to_le_bytes()));
    let tensors = asked(&request_for(&json!([]), false))
        .tensors(&reply)
        .unwrap();
    assert_eq!((&*tensors.id, &*tensors.model_version), ("1", "2"));
    let text = InferenceReply {
        body: Bytes::from_static(b"[1]"),
        ..reply
    };
    assert_eq!(
        asked(&request_for(&json!([]), true))
            .rest(text.clone())
            .unwrap(),
        text
    );
    let error = asked(&request_for(&json!([]), true))
        .tensors(&text)
        .unwrap_err();
    assert!(
        error.to_string().contains("no inference response"),
        "{error}"
    );
}

#[test]
fn what_a_worker_writes_wrongly_is_an_error() {
    let output = |size: u64| {
        json!([{"name": "a", "datatype": "INT16", "shape": [2],
        "parameters": {"binary_data_size": size}}])
    };
    for (reply, reason) in [
        (typed_reply(&output(4), b"123"), "cut off"),
        (typed_reply(&output(u64::MAX), b"123"), "cut off"),
        (
            typed_reply(&output(3), b"123"),
            "3 bytes where the shape has 4",
        ),
        (
            typed_reply(&json!([{"name": "a", "datatype": "X", "shape": []}]), b""),
            "unknown datatype",
        ),
    ] {
        let error = asked(&request_for(&json!([]), false))
            .rest(reply)
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.code().http(), 500);
    }
}

fn any_datatype() -> impl Strategy<Value = Datatype> {
    prop::sample::select(Datatype::ALL.to_vec())
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), end in prop::option::of(0_usize..300)) {
        let _ = InferRequest::read(&body, end);
    }

    /// Requests that are nearly right: every field may be anything.
    #[test]
    fn arbitrary_tensors_are_read_whole_or_refused(
        datatype in any_datatype(),
        shape in prop::collection::vec(prop_oneof![-2_i64..5, any::<i64>()], 0..4),
        size in prop_oneof![0_u64..40, any::<u64>()],
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let parameters = json!({ "binary_data_size": size });
        let input = json!({"name": "x", "datatype": datatype.name(), "shape": shape, "parameters": parameters});
        let (body, length) = with_tail(&json!([input]), &tail);
        if let Ok((tensor, bytes)) = data(&body, Some(length)) {
            prop_assert_eq!(&bytes, &tail);
            let count: i64 = tensor.shape.iter().product();
            let found = match tensor.datatype.element_bytes() {
                Some(size) => bytes.len() / size,
                None => Strings::new(&bytes).count(),
            };
            prop_assert_eq!(i64::try_from(found).unwrap(), count);
        }
    }

    #[test]
    fn bytes_survive_json(datatype in any_datatype(), seed in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = match datatype.element_bytes() {
            None => Strings::join(&[&seed[..seed.len() / 2], &seed[seed.len() / 2..]]).unwrap(),
            Some(1) if datatype == Datatype::Bool => seed.iter().map(|it| it & 1).collect(),
            Some(size) => seed[..seed.len() / size * size].to_vec(),
        };
        let count = datatype.element_bytes().map_or(2, |size| bytes.len() / size);
        let texts = texts_of(datatype, &bytes);
        let mut text = Vec::new();
        encode(&mut text, datatype, &bytes, texts);
        let text = String::from_utf8(text).unwrap();
        // What is no number has no JSON.
        if text.contains("NaN") || text.contains("Infinity") {
            return Ok(());
        }
        prop_assert_eq!(decode(&text, datatype, count, texts).unwrap(), bytes);
    }

    #[test]
    fn arbitrary_texts_are_data_or_refused(text in "\\PC{0,40}", datatype in any_datatype(), count in 0_usize..50) {
        let _ = decode(&text, datatype, count, Texts::Base64);
    }
}
