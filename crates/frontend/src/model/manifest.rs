//! `MAR-INF/MANIFEST.json`.

/// The manifest of an archive; every field may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the JSON keys")]
pub struct Manifest {
    pub model_name: Option<String>,
    pub model_version: Option<String>,
    pub handler: Option<String>,
    pub serialized_file: Option<String>,
    pub model_file: Option<String>,
    pub requirements_file: Option<String>,
    pub config_file: Option<String>,
    pub runtime: Runtime,
    pub created_on: Option<String>,
    pub archiver_version: Option<String>,
}

/// Which interpreter runs the handler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Runtime {
    /// The configured interpreter.
    #[default]
    Python,
    /// `python3` from PATH.
    Python3,
    /// C++ workers, which tserve does not run.
    Lsp,
}

impl Runtime {
    /// The name as the API shows it: `python`, `python3` or `LSP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Python3 => "python3",
            Self::Lsp => "LSP",
        }
    }
}
