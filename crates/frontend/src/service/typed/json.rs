//! Nested lists of numbers in JSON, read straight into the elements of a tensor.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::{Layout, bad};
use crate::error::Error;
use crate::service::Datatype;
use crate::worker::JsonNumbers;

/// Most dimensions: as many as every numpy knows.
const MAX_RANK: usize = 32;
/// Floats up to here hold whole numbers exactly.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// Whether a text is a list or a number; texts, objects and the like reach handlers as ever.
pub(super) fn is_numbers(text: &[u8]) -> bool {
    let first = text.iter().find(|it| !it.is_ascii_whitespace());
    first.is_some_and(|it| matches!(it, b'[' | b'-' | b'0'..=b'9'))
}

/// Reads numbers, and the shape of the lists that they are in.
///
/// # Errors
/// [`Error::BadRequest`] for what is no JSON, for lists of different lengths side by side, and for
/// elements that are no numbers of the type that the handler wants.
pub(super) fn read(text: &[u8], numbers: JsonNumbers) -> Result<(Layout, Vec<u8>), Error> {
    let mut elements = Elements::new(numbers);
    let mut reader = serde_json::Deserializer::from_slice(text);
    Nested {
        elements: &mut elements,
        depth: 0,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end())
    .map_err(|error| bad(format!("the body is no array of numbers: {error}")))?;
    Ok(elements.finish())
}

/// What is known of the array while it is read.
struct Elements {
    /// Type of numbers that are not all whole.
    float_type: Datatype,
    /// Whether only whole numbers will do.
    is_whole_only: bool,
    /// Lengths by depth, as far as lists have ended.
    lengths: Vec<Option<usize>>,
    /// How deep the numbers are, once one was seen.
    leaf_depth: Option<usize>,
    whole: Vec<i64>,
    /// All of them as bytes, from the first that is not whole.
    floats: Option<Vec<u8>>,
}

impl Elements {
    fn new(numbers: JsonNumbers) -> Self {
        let (float_type, is_float_only, is_whole_only) = match numbers {
            JsonNumbers::Numpy => (Datatype::Fp64, false, false),
            JsonNumbers::Torch => (Datatype::Fp32, false, false),
            JsonNumbers::Float32 => (Datatype::Fp32, true, false),
            JsonNumbers::Float64 => (Datatype::Fp64, true, false),
            JsonNumbers::Int64 => (Datatype::Int64, false, true),
        };
        Self {
            float_type,
            is_whole_only,
            lengths: Vec::new(),
            leaf_depth: None,
            whole: Vec::new(),
            floats: is_float_only.then(Vec::new),
        }
    }

    fn at<E: serde::de::Error>(&mut self, depth: usize) -> Result<(), E> {
        if self.lengths.len() > depth || *self.leaf_depth.get_or_insert(depth) != depth {
            return Err(E::custom("numbers and lists side by side"));
        }
        Ok(())
    }

    fn integer<E: serde::de::Error>(&mut self, depth: usize, value: i64) -> Result<(), E> {
        self.at(depth)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "as numpy does with whole numbers among others"
        )]
        match &mut self.floats {
            Some(floats) => push(floats, self.float_type, value as f64),
            None => self.whole.push(value),
        }
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "as numpy does with whole numbers among others"
    )]
    fn float<E: serde::de::Error>(&mut self, depth: usize, value: f64) -> Result<(), E> {
        if self.is_whole_only {
            if value.fract() != 0.0 || value.abs() > EXACT_FLOAT {
                return Err(E::custom(format_args!("{value} is no int64")));
            }
            return self.integer(depth, value as i64);
        }
        self.at(depth)?;
        let float_type = self.float_type;
        let whole = &mut self.whole;
        let floats = self.floats.get_or_insert_with(|| {
            let mut floats = Vec::with_capacity(2 * 8 * whole.len());
            for &it in &*whole {
                push(&mut floats, float_type, it as f64);
            }
            *whole = Vec::new();
            floats
        });
        push(floats, float_type, value);
        Ok(())
    }

    fn begin<E: serde::de::Error>(&mut self, depth: usize) -> Result<(), E> {
        if self.leaf_depth.is_some_and(|leaf| leaf <= depth) {
            return Err(E::custom("numbers and lists side by side"));
        }
        if depth == MAX_RANK {
            return Err(E::custom(format_args!(
                "lists in lists, more than {MAX_RANK} deep"
            )));
        }
        if self.lengths.len() == depth {
            self.lengths.push(None);
        }
        Ok(())
    }

    fn end<E: serde::de::Error>(&mut self, depth: usize, length: usize) -> Result<(), E> {
        let known = *self.lengths[depth].get_or_insert(length);
        if known != length {
            return Err(E::custom(format_args!(
                "lists of {known} and of {length} elements side by side"
            )));
        }
        Ok(())
    }

    fn finish(self) -> (Layout, Vec<u8>) {
        let is_empty = self.whole.is_empty() && !self.is_whole_only;
        let (datatype, bytes) = match self.floats {
            Some(floats) => (self.float_type, floats),
            None if is_empty => (self.float_type, Vec::new()),
            None => {
                let bytes = self.whole.iter().flat_map(|it| it.to_le_bytes());
                (Datatype::Int64, bytes.collect())
            }
        };
        let layout = Layout {
            datatype,
            shape: self
                .lengths
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect(),
            is_fortran: false,
        };
        (layout, bytes)
    }
}

fn push(out: &mut Vec<u8>, datatype: Datatype, value: f64) {
    if datatype == Datatype::Fp32 {
        out.extend_from_slice(&(value as f32).to_le_bytes());
    } else {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// A number, or a list of such, that deep inside of lists.
struct Nested<'e> {
    elements: &'e mut Elements,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number or a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { elements, depth } = self;
        elements.begin(depth)?;
        let mut length = 0;
        while list
            .next_element_seed(Nested {
                elements: &mut *elements,
                depth: depth + 1,
            })?
            .is_some()
        {
            length += 1;
        }
        elements.end(depth, length)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.elements.integer(self.depth, value)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers beyond 64 bits are floats"
    )]
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.elements.integer(self.depth, value),
            Err(_) => self.elements.float(self.depth, value as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.elements.float(self.depth, value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape_of(text: &str, numbers: JsonNumbers) -> (&'static str, Vec<usize>, Vec<u8>) {
        let (layout, bytes) = read(text.as_bytes(), numbers).unwrap();
        (layout.datatype.name(), layout.shape, bytes)
    }

    fn refusal(text: &str) -> String {
        read(text.as_bytes(), JsonNumbers::Numpy)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn types_are_those_of_numpy_and_torch_unless_the_handler_says_more() {
        let whole: Vec<u8> = [1_i64, 2].iter().flat_map(|it| it.to_le_bytes()).collect();
        let single: Vec<u8> = [1_f32, 2.].iter().flat_map(|it| it.to_le_bytes()).collect();
        let double: Vec<u8> = [1_f64, 2.].iter().flat_map(|it| it.to_le_bytes()).collect();
        let expect = |name, bytes: &[u8]| (name, vec![2], bytes.to_vec());
        assert_eq!(
            shape_of("[1,2]", JsonNumbers::Numpy),
            expect("INT64", &whole)
        );
        assert_eq!(
            shape_of("[1,2]", JsonNumbers::Torch),
            expect("INT64", &whole)
        );
        assert_eq!(
            shape_of("[1,2.0]", JsonNumbers::Numpy),
            expect("FP64", &double)
        );
        assert_eq!(
            shape_of("[1,2.0]", JsonNumbers::Torch),
            expect("FP32", &single)
        );
        assert_eq!(
            shape_of("[1,2]", JsonNumbers::Float32),
            expect("FP32", &single)
        );
        assert_eq!(
            shape_of("[1,2]", JsonNumbers::Float64),
            expect("FP64", &double)
        );
        assert_eq!(
            shape_of("[1,2e0]", JsonNumbers::Int64),
            expect("INT64", &whole)
        );
        assert!(read(b"[1.5]", JsonNumbers::Int64).is_err());
        assert_eq!(
            shape_of("[9223372036854775808]", JsonNumbers::Numpy).0,
            "FP64"
        );
    }

    #[test]
    fn shapes_are_those_of_the_lists() {
        let shape = |text| shape_of(text, JsonNumbers::Numpy).1;
        assert_eq!(shape(" 3 "), Vec::<usize>::new());
        assert_eq!(shape("[]"), [0]);
        assert_eq!(shape("[[],[]]"), [2, 0]);
        assert_eq!(shape("[[[1,2]],[[3,4]],[[5,6.5]]]"), [3, 1, 2]);
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for ragged in ["[[1,2],[3]]", "[[],[1]]"] {
            assert!(refusal(ragged).contains("side by side"), "{ragged}");
        }
        for mixed in ["[1,[2]]", "[[1],2]", "[[],1]", "[[[]],[1]]", "[[1],[[2]]]"] {
            assert!(refusal(mixed).contains("side by side"), "{mixed}");
        }
        for other in ["[null]", "[true]", "[\"1\"]", "[{}]"] {
            assert!(refusal(other).contains("a number or a list"), "{other}");
        }
        for broken in ["[1", "[1,]", "[1]x", "[NaN]", "1 2", "-", "[1e999]"] {
            assert!(refusal(broken).contains("no array of numbers"), "{broken}");
        }
        assert!(refusal(&"[".repeat(33)).contains("32 deep"));
        assert!(refusal(&"[".repeat(100_000)).contains("32 deep"));
    }

    #[test]
    fn lists_and_numbers_are_told_from_the_rest() {
        for text in ["[1]", " \n[", "-1", "0"] {
            assert!(is_numbers(text.as_bytes()), "{text}");
        }
        for text in ["", " ", "{}", "\"a\"", "true", "null"] {
            assert!(!is_numbers(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[\\[\\],0-9.eE+\\-tn\" ]{0,40}") {
            if let Ok((layout, bytes)) = read(text.as_bytes(), JsonNumbers::Numpy) {
                prop_assert_eq!(
                    super::super::byte_len(layout.datatype, &layout.shape).ok(),
                    Some(bytes.len())
                );
            }
        }

        #[test]
        fn numbers_come_as_they_were(values in prop::collection::vec(-1e300..1e300_f64, 1..20)) {
            let text = serde_json::to_string(&values).unwrap();
            let (_, bytes) = read(text.as_bytes(), JsonNumbers::Float64).unwrap();
            let back: Vec<f64> = bytes.as_chunks().0.iter().map(|it| f64::from_le_bytes(*it)).collect();
            prop_assert_eq!(back, values);
        }
    }
}
