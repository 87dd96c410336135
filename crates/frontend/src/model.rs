//! Archives, manifests, settings and the registry. No sockets of its own and no workers.
//!
//! A registration goes through them in this order: [`store`] locates (or fetches) the archive,
//! [`archive`] unpacks it below the [`runtime_dir`], [`manifest`] says what it is called,
//! [`settings`] what it runs with, [`signature`] what tensors it takes, [`dependencies`] installs what it needs, [`registry`] makes it
//! known. Each step cleans up after itself when a later one fails: folders are removed when the
//! [`UnpackedArchive`](archive::UnpackedArchive) is dropped, fetched files by
//! [`LocatedArchive::discard`](store::LocatedArchive::discard).

pub mod archive;
pub mod dependencies;
pub mod manifest;
pub mod registry;
pub mod runtime_dir;
pub mod settings;
pub mod signature;
pub mod store;
