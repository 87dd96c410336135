//! The tensors that a model takes and gives, where its archive declares them.
//!
//! `openInference` of `model-config.yaml`; clients of the Open Inference Protocol read it as the
//! model's metadata, and requests that differ are refused before a worker sees them.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

/// What an archive declares; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signature {
    /// Framework and format, for example `pytorch`.
    pub platform: String,
    /// Inputs; empty: any.
    pub inputs: Vec<Tensor>,
    /// Outputs; empty: any.
    pub outputs: Vec<Tensor>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub datatype: Datatype,
    /// Its shape; -1: any length.
    pub shape: Vec<i64>,
    /// Whether a request may leave it out.
    #[serde(default, skip_serializing)]
    pub optional: bool,
}

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Signature {
    /// Reads a declaration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Self, String> {
        let found = Self::deserialize(value).map_err(|error| error.to_string())?;
        for tensors in [&found.inputs, &found.outputs] {
            for (index, tensor) in tensors.iter().enumerate() {
                let name = &tensor.name;
                if name.is_empty() {
                    return Err("a tensor has no name".to_owned());
                }
                if tensors[..index].iter().any(|other| other.name == *name) {
                    return Err(format!("{name:?} occurs twice"));
                }
                if let Some(length) = tensor.shape.iter().find(|&&length| length < -1) {
                    return Err(format!("{name:?} has the dimension {length}"));
                }
            }
        }
        Ok(found)
    }
}

impl Tensor {
    /// Whether a tensor of this shape is one.
    pub fn fits(&self, shape: &[i64]) -> bool {
        let is_one = |(declared, found): (&i64, &i64)| *declared == -1 || declared == found;
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(is_one)
    }
}

impl Datatype {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The datatype of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Bytes of one element; `None` where elements differ in length.
    pub fn element_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Least and greatest value of an integer type; `None` for the others.
    pub fn range(self) -> Option<(i128, i128)> {
        let bits = match self {
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => {
                let bits = self.element_bytes()? * 8;
                return Some((0, (1 << bits) - 1));
            }
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => self.element_bytes()? * 8,
            _ => return None,
        };
        Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    }
}
