//! The Python value of an input: TorchServe's typing rules.
//!
//! # Source
//!
//! `ts/protocol/otf_message_handler.py` of TorchServe 0.12: `_retrieve_input_data`.

use pyo3::{
    exceptions::{PyException, PyImportError},
    intern,
    prelude::*,
    types::{PyByteArray, PyBytes, PyString},
};
use tserve_shm::wire::InputRef;

/// Digits from which on orjson may turn an integer into a float: 2^63 has 19.
const BIG_INTEGER_DIGITS: usize = 19;
/// Bytes that are looked at together; every run of big integers' length contains such a word.
const WORD: usize = 8;

/// Turns bytes into what handlers expect, by content type.
#[derive(Debug)]
pub(crate) struct Decoder {
    is_enabled: bool,
    /// `orjson.loads` where orjson is installed: faster, but stricter and not exact on big integers.
    fast_loads: Option<Py<PyAny>>,
    /// `json.loads`, which says what is JSON.
    loads: Py<PyAny>,
    logger: Py<PyAny>,
}

impl Decoder {
    /// Looks the parsers up; with `is_enabled` false every value is a bytearray.
    pub(crate) fn new(py: Python<'_>, is_enabled: bool) -> PyResult<Self> {
        let fast_loads = match py.import("orjson") {
            Ok(orjson) => Some(orjson.getattr("loads")?.unbind()),
            Err(error) if error.is_instance_of::<PyImportError>(py) => None,
            Err(error) => return Err(error),
        };
        let logger = py
            .import("logging")?
            .call_method1("getLogger", ("tserve_worker._native",))?;
        Ok(Self {
            is_enabled,
            fast_loads,
            loads: py.import("json")?.getattr("loads")?.unbind(),
            logger: logger.unbind(),
        })
    }

    /// The value of one input of the request `id`.
    pub(crate) fn value<'py>(
        &self,
        py: Python<'py>,
        id: &str,
        input: &InputRef<'_>,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let decoded = if !self.is_enabled {
            return Ok(PyByteArray::new(py, bytes).into_any());
        } else if input.content_type == "application/json" {
            self.json(py, bytes)
        } else if input.content_type.starts_with("text") {
            text(py, bytes).map(Bound::into_any)
        } else {
            return Ok(PyByteArray::new(py, bytes).into_any());
        };
        match decoded {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                self.warn(py, id, input, &error)?;
                Ok(PyByteArray::new(py, bytes).into_any())
            }
            other => other,
        }
    }

    fn json<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if let Some(fast_loads) = &self.fast_loads
            && !has_big_integer(bytes)
        {
            match fast_loads.bind(py).call1((PyBytes::new(py, bytes),)) {
                // It refuses NaN and lone surrogates, which Python's parser takes.
                Err(error) if error.is_instance_of::<PyException>(py) => {}
                other => return other,
            }
        }
        self.loads.bind(py).call1((text(py, bytes)?,))
    }

    fn warn(&self, py: Python<'_>, id: &str, input: &InputRef<'_>, error: &PyErr) -> PyResult<()> {
        self.logger.call_method1(
            py,
            intern!(py, "warning"),
            (
                intern!(
                    py,
                    "input %r of request %s is declared as %s but does not decode, \
                     so the handler gets its bytes: %s"
                ),
                input.name,
                id,
                input.content_type,
                error.value(py),
            ),
        )?;
        Ok(())
    }
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, bytes)
}

/// Whether some run of digits is long enough for an integer that orjson would not keep exact.
fn has_big_integer(bytes: &[u8]) -> bool {
    // A run that long covers at least one of these words, which in other texts is rare.
    bytes
        .chunks_exact(WORD)
        .enumerate()
        .filter(|(_, word)| word.iter().all(u8::is_ascii_digit))
        .any(|(index, _)| {
            let (before, after) = bytes.split_at(index * WORD);
            digits(before.iter().rev()) + digits(after.iter()) >= BIG_INTEGER_DIGITS
        })
}

/// Length of the run of digits that an iterator starts with, as far as it matters.
fn digits<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes
        .take(BIG_INTEGER_DIGITS)
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}
