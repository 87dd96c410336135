//! When a log file is put aside and how many are kept: the settings, else those of a log4j2 file,
//! else those of the original.

use std::sync::LazyLock;

use regex::Regex;

use crate::config::LogSettings;

/// Elements of a log4j2 file that are about rotation, and their first attribute of interest.
static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?is)<(SizeBasedTriggeringPolicy|DefaultRolloverStrategy)\b[^>]*?\b(?:size|max)\s*=\s*["']([^"']*)["']"#,
    )
    .expect("the pattern is constant")
});

/// When a file is put aside, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    /// A file is put aside when it is larger than this.
    pub largest_bytes: usize,
    /// Files put aside that are kept, compressed.
    pub kept_files: usize,
    /// Whether a file is put aside when a day has ended.
    pub daily: bool,
}

impl Rotation {
    /// As the log4j2 file of the original has it.
    pub(super) const USUAL: Self = Self {
        largest_bytes: 100 << 20,
        kept_files: 5,
        daily: true,
    };

    /// What the first policies of a log4j2 file say; the usual where they say nothing.
    pub(super) fn read(xml: &str) -> Self {
        let mut rotation = Self::USUAL;
        let (mut has_size, mut has_max) = (false, false);
        for element in ELEMENT.captures_iter(xml) {
            let (_, [kind, value]) = element.extract();
            if kind.eq_ignore_ascii_case("DefaultRolloverStrategy") {
                if let (false, Ok(max)) = (has_max, value.trim().parse()) {
                    (rotation.kept_files, has_max) = (max, true);
                }
            } else if let (false, Some(size)) = (has_size, size(value)) {
                (rotation.largest_bytes, has_size) = (size, true);
            }
        }
        if has_size {
            rotation.daily = xml.contains("<TimeBasedTriggeringPolicy");
        }
        rotation
    }

    /// The same, as far as the settings do not say otherwise.
    pub(super) fn with(self, settings: &LogSettings) -> Self {
        Self {
            largest_bytes: settings.max_file_size.unwrap_or(self.largest_bytes),
            kept_files: settings.max_files.unwrap_or(self.kept_files),
            daily: settings.rotate_daily.unwrap_or(self.daily),
        }
    }
}

/// A size as log4j2 has it: `100 MB`, `10KB`, `5000`.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    let bytes = number.parse::<usize>().ok()?.checked_mul(1 << shift)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_a_log4j2_file_are_used() {
        let xml = r#"<RollingFile name="a"><Policies><SizeBasedTriggeringPolicy size="10 KB"/>
            </Policies><DefaultRolloverStrategy fileIndex="min" max='3'/></RollingFile>"#;
        let rotation = Rotation::read(xml);
        assert_eq!((rotation.largest_bytes, rotation.kept_files), (10 << 10, 3));
        assert!(!rotation.daily);
        assert!(Rotation::read(&format!("{xml}<TimeBasedTriggeringPolicy/>")).daily);
        assert_eq!(Rotation::read("<Loggers/>"), Rotation::USUAL);
        let settings = LogSettings {
            max_files: Some(9),
            ..LogSettings::default()
        };
        assert_eq!(rotation.with(&settings).kept_files, 9);
    }

    #[test]
    fn sizes_are_read_as_log4j2_reads_them() {
        for (text, bytes) in [
            ("100 MB", Some(100 << 20)),
            ("1gb", Some(1 << 30)),
            ("77", Some(77)),
            ("0", None),
            ("ten", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
