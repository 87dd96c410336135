//! One answer of a reply, taken from the tuple that Python hands over.

use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString},
};
use tserve_shm::ReplyItemRef;

/// An answer whose Python objects are kept alive while their bytes are sent.
#[derive(Debug)]
pub(crate) struct Answer<'py> {
    payload: Payload<'py>,
    status: u32,
    phrase: Option<Bound<'py, PyString>>,
    headers: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
}

/// The bytes of an answer.
#[derive(Debug)]
enum Payload<'py> {
    /// Sent from the object itself.
    Bytes(Bound<'py, PyBytes>),
    /// Sent from the object itself, as UTF-8.
    Text(Bound<'py, PyString>),
    /// A copy, since another thread might change the object while it is being sent.
    Copied(Vec<u8>),
}

type AnswerTuple<'py> = (
    Bound<'py, PyAny>,
    u32,
    Option<Bound<'py, PyString>>,
    Bound<'py, PyAny>,
);

impl<'py> Answer<'py> {
    /// Takes `(payload, status, phrase, headers)` apart.
    pub(crate) fn extract(tuple: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (payload, status, phrase, headers): AnswerTuple<'py> = tuple.extract()?;
        Ok(Self {
            payload: Payload::extract(payload)?,
            status,
            phrase,
            headers: headers_of(&headers)?,
        })
    }

    /// Names and values of the headers.
    pub(crate) fn header_pairs(&self) -> PyResult<Vec<(&str, &str)>> {
        self.headers
            .iter()
            .map(|(name, value)| Ok((name.to_str()?, value.to_str()?)))
            .collect()
    }

    /// The answer as the link takes it.
    pub(crate) fn item<'a>(
        &'a self,
        index: u32,
        headers: &'a [(&'a str, &'a str)],
    ) -> PyResult<ReplyItemRef<'a>> {
        Ok(ReplyItemRef {
            index,
            status: self.status,
            phrase: self
                .phrase
                .as_ref()
                .map(|phrase| phrase.to_str())
                .transpose()?,
            headers,
            body: self.payload.as_bytes()?,
        })
    }
}

impl<'py> Payload<'py> {
    fn extract(object: Bound<'py, PyAny>) -> PyResult<Self> {
        let object = match object.cast_into::<PyBytes>() {
            Ok(bytes) => return Ok(Self::Bytes(bytes)),
            Err(error) => error.into_inner(),
        };
        let object = match object.cast_into::<PyString>() {
            Ok(text) => return Ok(Self::Text(text)),
            Err(error) => error.into_inner(),
        };
        if let Ok(bytes) = object.cast::<PyByteArray>() {
            return Ok(Self::Copied(bytes.to_vec()));
        }
        if object.is_instance_of::<PyMemoryView>() {
            let copy = object.call_method0(intern!(object.py(), "tobytes"))?;
            return Ok(Self::Bytes(copy.cast_into()?));
        }
        Err(PyTypeError::new_err(format!(
            "a payload must be bytes, bytearray, memoryview or str, not {}",
            object.get_type().name()?
        )))
    }

    fn as_bytes(&self) -> PyResult<&[u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.as_bytes()),
            Self::Text(text) => Ok(text.to_str()?.as_bytes()),
            Self::Copied(bytes) => Ok(bytes),
        }
    }
}

/// Pairs from a dict or from a sequence of pairs.
fn headers_of<'py>(
    headers: &Bound<'py, PyAny>,
) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
    match headers.cast::<PyDict>() {
        Ok(dict) => dict
            .iter()
            .map(|(name, value)| Ok((name.cast_into()?, value.cast_into()?)))
            .collect(),
        Err(_) => headers.extract(),
    }
}
