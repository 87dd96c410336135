//! Unpacking archives, defensively.

use std::path::{Path, PathBuf};

use super::manifest::Manifest;

/// An archive that is ready to be served: its folder and its manifest. The folder is removed when
/// this is dropped, unless it is somebody else's (a model directory used in place).
#[derive(Debug)]
pub struct UnpackedArchive {
    manifest: Option<Manifest>,
    directory: PathBuf,
    link_parent: Option<PathBuf>,
}

impl UnpackedArchive {
    /// The manifest; `None` when the archive holds none.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The folder that handlers see as `model_dir` (a link for directories used in place).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// For directories used in place: the private folder beside the link, where per-model
    /// packages go.
    pub fn link_parent(&self) -> Option<&Path> {
        self.link_parent.as_deref()
    }
}
