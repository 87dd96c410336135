//! Python values as the JSON that `json.dumps(value, indent=2)` writes, without its interpreter loop.
//!
//! Only what such a text is nearly always made of is written here: exact `dict` with `str` keys,
//! `list`, `tuple`, `str`, `int` of 64 bits, `float`, `bool` and `None`. Everything else (subclasses,
//! other keys, values that contain themselves) is left to Python, which has the last word on it.

use std::fmt::Write as _;

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// Deeper values are left to Python; so are, thereby, values that contain themselves.
const MOST_LEVELS: usize = 64;

/// The JSON text of a value, or None when Python has to write it.
#[pyfunction]
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    let mut writer = Writer {
        text: String::new(),
        level: 0,
    };
    writer
        .value(value)
        .then(|| PyBytes::new(value.py(), writer.text.as_bytes()))
}

struct Writer {
    text: String,
    level: usize,
}

impl Writer {
    /// Appends a value; false when it is nothing that is written here.
    fn value(&mut self, value: &Bound<'_, PyAny>) -> bool {
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.string(text);
        }
        if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.float(number.value());
            return true;
        }
        if let Ok(number) = value.cast_exact::<PyInt>() {
            let Ok(number) = number.extract::<i64>() else {
                return false;
            };
            self.text.push_str(itoa::Buffer::new().format(number));
            return true;
        }
        if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.text
                .push_str(if truth.is_true() { "true" } else { "false" });
            return true;
        }
        if value.is_none() {
            self.text.push_str("null");
            return true;
        }
        if self.level == MOST_LEVELS {
            return false;
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.dict(dict);
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            return self.sequence(list.iter());
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.sequence(tuple.iter());
        }
        false
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> bool {
        if dict.is_empty() {
            self.text.push_str("{}");
            return true;
        }
        self.level += 1;
        for (index, (key, value)) in dict.iter().enumerate() {
            let Ok(key) = key.cast_exact::<PyString>() else {
                return false;
            };
            self.text.push_str(if index == 0 { "{" } else { "," });
            self.new_line();
            if !self.string(key) {
                return false;
            }
            self.text.push_str(": ");
            if !self.value(&value) {
                return false;
            }
        }
        self.level -= 1;
        self.new_line();
        self.text.push('}');
        true
    }

    fn sequence<'py>(&mut self, values: impl ExactSizeIterator<Item = Bound<'py, PyAny>>) -> bool {
        if values.len() == 0 {
            self.text.push_str("[]");
            return true;
        }
        self.level += 1;
        for (index, value) in values.enumerate() {
            self.text.push_str(if index == 0 { "[" } else { "," });
            self.new_line();
            if !self.value(&value) {
                return false;
            }
        }
        self.level -= 1;
        self.new_line();
        self.text.push(']');
        true
    }

    fn new_line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.level {
            self.text.push_str("  ");
        }
    }

    /// Appends a string, escaped to ASCII; false for one with halves of characters.
    fn string(&mut self, text: &Bound<'_, PyString>) -> bool {
        let Ok(text) = text.to_str() else {
            return false;
        };
        self.text.push('"');
        let mut rest = text;
        while let Some(place) = rest.find(|char| !is_plain(char)) {
            let (plain, special) = rest.split_at(place);
            self.text.push_str(plain);
            let mut chars = special.chars();
            if let Some(char) = chars.next() {
                self.escaped(char);
            }
            rest = chars.as_str();
        }
        self.text.push_str(rest);
        self.text.push('"');
        true
    }

    fn escaped(&mut self, char: char) {
        let short = match char {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(self.text, "\\u{unit:04x}");
                }
                return;
            }
        };
        self.text.push_str(short);
    }

    /// Appends a number as `float.__repr__` does: the shortest digits that read back the same, with
    /// an exponent below 1e-4 and from 1e16 on.
    fn float(&mut self, number: f64) {
        if !number.is_finite() {
            self.text.push_str(if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
            return;
        }
        let start = self.text.len();
        if number == 0.0 || (1e-4..1e16).contains(&number.abs()) {
            let _ = write!(self.text, "{number}");
            if !self.text[start..].contains('.') {
                self.text.push_str(".0");
            }
            return;
        }
        let _ = write!(self.text, "{number:e}");
        // Python's exponents have a sign and at least two digits.
        let Some(mark) = self.text[start..].find('e') else {
            return;
        };
        let exponent = self.text.split_off(start + mark + 1);
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent.as_str()),
        };
        let _ = write!(self.text, "{sign}{digits:0>2}");
    }
}

/// Whether a character stands for itself in a JSON text of printable ASCII.
fn is_plain(char: char) -> bool {
    matches!(char, ' '..='~') && char != '"' && char != '\\'
}
