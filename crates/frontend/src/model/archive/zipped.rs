//! `.mar` files: zip, deflated or stored.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use zip::ZipReadOptions;
use zip::read::{ArchiveOffset, Config, ZipArchive, ZipFile};
use zip::result::ZipError;

use super::staging::{EntryPath, Staging, printable, too_many_entries};
use super::{Allowance, Metered, UnpackError, UnpackLimits};

/// Bytes of the zip directory that one entry may take on average: 46 and its name.
const DIRECTORY_BYTES_PER_ENTRY: u64 = 256;

/// Type bits of a Unix mode, and the two types that may be in an archive.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;

/// Whether a file starts as a zip does (an entry, an empty archive, or a spanned one). Leaves the
/// file at its start.
pub(super) fn is_zip(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(matches!(
        start.as_slice(),
        b"PK\x03\x04" | b"PK\x05\x06" | b"PK\x07\x08"
    ))
}

/// Unpacks a whole zip file.
pub(super) fn extract(
    file: File,
    staging: &mut Staging,
    limits: &UnpackLimits,
) -> Result<(), UnpackError> {
    // The directory is read into memory, so its size is limited before its entries are counted.
    let directory_bytes = limits.max_entries.saturating_mul(DIRECTORY_BYTES_PER_ENTRY);
    let allowance = Allowance::new(directory_bytes.max(1 << 20));
    let reader = BufReader::new(Metered {
        inner: file,
        allowance: allowance.clone(),
    });
    // The archive starts where the file does: that was checked.
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let mut archive = ZipArchive::with_config(config, reader).map_err(damaged)?;
    allowance.set(u64::MAX);
    if archive.len() as u64 > limits.max_entries {
        return Err(too_many_entries(limits.max_entries));
    }
    if archive.has_duplicate_names() {
        return Err(UnpackError::Corrupt(
            "two entries have the same name".to_owned(),
        ));
    }
    for index in 0..archive.len() {
        // An archive whose two directories disagree means one thing to a scanner, another to us.
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let mut entry = archive
            .by_index_with_options(index, options)
            .map_err(damaged)?;
        extract_entry(&mut entry, staging)?;
    }
    Ok(())
}

fn extract_entry(
    entry: &mut ZipFile<'_, impl Read>,
    staging: &mut Staging,
) -> Result<(), UnpackError> {
    let refuse = |reason| UnpackError::Unsafe {
        entry: printable(entry.name_raw()),
        reason,
    };
    let name = entry.name().map_err(damaged)?.into_owned();
    let is_directory = name.ends_with('/');
    match entry.unix_mode().map(|mode| mode & TYPE_MASK) {
        None | Some(0) => {}
        Some(TYPE_FILE) if !is_directory => {}
        Some(TYPE_DIRECTORY) if is_directory => {}
        Some(TYPE_FILE | TYPE_DIRECTORY) => return Err(refuse("is both a file and a folder")),
        Some(_) => return Err(refuse("is a link or a device")),
    }
    if entry.encrypted() {
        return Err(refuse("is encrypted"));
    }
    let declared = entry.size();
    let Some(path) = EntryPath::parse(name.as_bytes())? else {
        return Ok(());
    };
    if is_directory {
        return staging.directory(&path);
    }
    let written = staging.file(&path, entry)?;
    if written != declared {
        return Err(UnpackError::Corrupt(format!(
            "entry \"{name}\" has {written} bytes instead of {declared}"
        )));
    }
    Ok(())
}

fn damaged(error: ZipError) -> UnpackError {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => error.into(),
        ZipError::Io(error) => UnpackError::Corrupt(error.to_string()),
        error => UnpackError::Corrupt(error.to_string()),
    }
}
