//! The gRPC interface: messages and service skeletons, generated from `proto/`.
//!
//! The generated code is committed, so that building tserve needs no protobuf compiler.
//! `cargo test -p tserve-api` fails when it is not what `proto/` says; with `UPDATE_GENERATED=1` it
//! writes it anew.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
#[rustfmt::skip]
mod generated {
    pub mod inference {
        include!("generated/org.pytorch.serve.grpc.inference.rs");
    }
    pub mod management {
        include!("generated/org.pytorch.serve.grpc.management.rs");
    }
    pub mod open_inference {
        include!("generated/org.pytorch.serve.grpc.openinference.rs");
    }
}

pub use self::generated::{inference, management, open_inference};

/// An error's name as a detail of a status: a `google.rpc.ErrorInfo` with nothing but a reason.
pub fn error_info(reason: &str) -> prost_types::Any {
    #[derive(prost::Message)]
    struct ErrorInfo {
        #[prost(string, tag = "1")]
        reason: prost::alloc::string::String,
    }
    let info = ErrorInfo {
        reason: reason.to_owned(),
    };
    prost_types::Any {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        value: prost::Message::encode_to_vec(&info),
    }
}

/// The description of all files in `proto/` for server reflection: an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
