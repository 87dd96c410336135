//! `tserve predict MODEL FILE...`

use std::io::{Read as _, Write};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::arguments::Prediction;
use super::connection::{Answer, Server, path};
use super::models::print_json;
use super::table::printable;
use super::{ClientError, REFUSED};

/// Sends each file and prints each answer. Returns the exit code: a file that fails does not keep
/// the others from being asked about.
pub(super) async fn perform(
    prediction: &Prediction,
    server: &Server,
    json: bool,
    out: &mut dyn Write,
) -> Result<u8, ClientError> {
    let mut parts = vec!["predictions", &prediction.model];
    parts.extend(prediction.version.as_deref());
    let path = path(&parts);
    let is_only_one = prediction.files.len() == 1;
    let mut documents = Vec::new();
    let mut code = 0;
    for file in &prediction.files {
        let name = file.display().to_string();
        let body = read(file).map_err(|source| ClientError::Unreadable {
            name: name.clone(),
            source,
        })?;
        let is_json = file
            .extension()
            .is_some_and(|extension| extension == "json");
        let guessed = is_json.then_some("application/json");
        let content_type = prediction.content_type.as_deref().or(guessed);
        let answer = server
            .ask(Method::POST, &path, Some((body, content_type)))
            .await?;
        if answer.is_error() {
            code = REFUSED;
        }
        if json {
            documents.push(document(&name, &answer));
        } else if is_only_one {
            if answer.is_error() {
                return Err(answer.refusal());
            }
            // As it is, so that it can go into a file or another program.
            out.write_all(&answer.body)?;
            if answer.body.last() != Some(&b'\n') && is_text(&answer) {
                writeln!(out)?;
            }
        } else {
            writeln!(out, "{}: {}", printable(&name), one_line(&answer))?;
        }
    }
    if json {
        print_json(out, &Value::Array(documents))?;
    }
    Ok(code)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(file)
}

/// Whether a line end after the answer can do no harm.
fn is_text(answer: &Answer) -> bool {
    std::str::from_utf8(&answer.body).is_ok()
}

/// One answer for a script: JSON as it is, other text as text, the rest in base64.
fn document(name: &str, answer: &Answer) -> Value {
    let mut document = json!({
        "file": name,
        "status": answer.status,
        "contentType": answer.content_type,
    });
    match (
        serde_json::from_slice::<Value>(&answer.body),
        std::str::from_utf8(&answer.body),
    ) {
        (Ok(value), _) => document["json"] = value,
        (_, Ok(text)) => document["text"] = text.into(),
        _ => document["base64"] = BASE64_STANDARD.encode(&answer.body).into(),
    }
    document
}

/// One answer for a person, among others.
fn one_line(answer: &Answer) -> String {
    if answer.is_error() {
        return printable(&format!("error: {}", answer.refusal()));
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&answer.body) {
        return printable(&value.to_string());
    }
    match std::str::from_utf8(&answer.body) {
        Ok(text) => printable(text.trim_end()),
        Err(_) => format!("{} bytes", answer.body.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &[u8]) -> Answer {
        Answer {
            status,
            content_type: None,
            body: body.to_vec(),
        }
    }

    #[test]
    fn every_kind_of_answer_fits_into_json() {
        assert_eq!(document("f", &answer(200, b"{\"a\": 1}"))["json"]["a"], 1);
        assert_eq!(document("f", &answer(200, b"plain"))["text"], "plain");
        assert_eq!(document("f", &answer(200, b"\xff"))["base64"], "/w==");
    }

    #[test]
    fn an_answer_among_others_takes_one_line() {
        assert_eq!(one_line(&answer(200, b"{\n \"a\": 1\n}")), "{\"a\":1}");
        assert_eq!(one_line(&answer(200, b"a\nb\n")), "a\u{fffd}b");
        assert_eq!(one_line(&answer(200, b"\xff\xfe")), "2 bytes");
        assert_eq!(one_line(&answer(503, b"busy")), "error: busy (503)");
    }
}
