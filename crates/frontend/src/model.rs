//! Archives, manifests, settings and the registry. No sockets and no processes.

pub mod archive;
pub mod manifest;
pub mod registry;
pub mod settings;
pub mod store;
