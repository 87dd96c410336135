//! How logs are written.

/// What a line of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogForm {
    /// Text as the original writes it.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// How logs are written. `None` means what `--log-config` says, else what the original does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogSettings {
    /// Text or JSON.
    pub form: LogForm,
    /// Levels of the server log by target.
    pub level: Option<String>,
    /// Share of the requests that the access log holds although nothing is remarkable about them.
    pub access_sampling: f64,
    /// How often a message is written in ten seconds; 0: always.
    pub repeat_limit: u32,
    /// A file is put aside when it is larger, bytes.
    pub max_file_size: Option<usize>,
    /// Files put aside that are kept.
    pub max_files: Option<usize>,
    /// Whether a file is put aside when a day has ended.
    pub rotate_daily: Option<bool>,
}
