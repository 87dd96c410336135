//! The key file, in the original's format: how clients on the same machine learn the keys.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use super::{Key, Keys};

#[derive(Serialize)]
struct Page<'a> {
    management: Entry<'a>,
    inference: Entry<'a>,
    #[serde(rename = "API")]
    api: Entry<'a>,
}

#[derive(Serialize)]
struct Entry<'a> {
    key: &'a str,
    #[serde(rename = "expiration time", skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// Replaces the file at once: readers see the old keys or the new ones, nobody else sees any.
pub(super) fn write(file: &Path, keys: &Keys) -> io::Result<()> {
    let page = Page {
        management: expiring(&keys.management)?,
        inference: expiring(&keys.inference)?,
        api: Entry {
            key: &keys.api,
            expires: None,
        },
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    // Made with mode 0600; renaming keeps it, and replaces a link instead of following it.
    let mut fresh = tempfile::Builder::new()
        .prefix(".key_file.")
        .tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut fresh, &page)?;
    fresh.write_all(b"\n")?;
    fresh.persist(file)?;
    Ok(())
}

fn expiring(key: &Key) -> io::Result<Entry<'_>> {
    Ok(Entry {
        key: &key.text,
        expires: Some(utc(key.expires)?),
    })
}

/// A time as ISO 8601 in UTC, with microseconds.
fn utc(time: SystemTime) -> io::Result<String> {
    let timestamp = Timestamp::try_from(time).map_err(io::Error::other)?;
    Ok(format!("{timestamp:.6}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_the_original_writes_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_741_359_909_123_456);
        assert_eq!(utc(time).unwrap(), "2025-03-07T15:05:09.123456Z");
    }
}
