//! Every archive that is not a `.mar`: a gzipped tar.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::staging::{EntryPath, Staging, printable};
use super::{Allowance, Metered, UnpackError};

/// Bytes of headers, long names and padding before one entry. They are collected in memory.
const HEADER_BYTES: u64 = 1 << 20;

/// Padding behind the last entry; tar writes up to 10 KiB of it by default.
const TRAILER_BYTES: u64 = 64 << 20;

/// Unpacks a whole gzipped tar, dropping the first component of every path.
pub(super) fn extract(file: File, staging: &mut Staging) -> Result<(), UnpackError> {
    let allowance = Allowance::new(HEADER_BYTES);
    let mut archive = Archive::new(Metered {
        inner: GzDecoder::new(BufReader::new(file)),
        allowance: allowance.clone(),
    });
    let mut entries = archive.entries().map_err(damaged)?;
    loop {
        // What is read while the next entry is looked for is only headers, because the entry
        // before it was read to its end.
        allowance.set(HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(damaged)?;
        // The content is limited by what may be written.
        allowance.set(u64::MAX);
        extract_entry(&mut entry, staging)?;
    }
    // The check sum stands behind the padding.
    let mut rest = archive.into_inner();
    allowance.set(TRAILER_BYTES);
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    Ok(())
}

fn extract_entry(
    entry: &mut Entry<'_, impl Read>,
    staging: &mut Staging,
) -> Result<(), UnpackError> {
    let name = entry.path_bytes().into_owned();
    let refuse = |reason| {
        Err(UnpackError::Unsafe {
            entry: printable(&name),
            reason,
        })
    };
    let is_directory = match entry.header().entry_type() {
        // Attributes for the whole archive, such as the commit that git made it from.
        EntryType::XGlobalHeader => return skip(entry),
        EntryType::Directory => true,
        // The oldest tars mark folders by their names alone.
        EntryType::Regular | EntryType::Continuous => name.ends_with(b"/"),
        EntryType::Symlink | EntryType::Link => return refuse("is a link"),
        EntryType::GNUSparse => return refuse("is a sparse file, which is not supported"),
        _ => return refuse("is neither a file nor a folder"),
    };
    // The whole path is checked before it is shortened, so that "/etc/x" does not become "etc/x".
    if EntryPath::parse(&name)?.is_none() {
        return Ok(());
    }
    let stripped = match name.iter().position(|byte| *byte == b'/') {
        None => &name[..],
        Some(slash) => {
            let rest = &name[slash..];
            let start = rest.iter().take_while(|byte| **byte == b'/').count();
            &rest[start..]
        }
    };
    let Some(path) = EntryPath::parse(stripped)? else {
        return Ok(());
    };
    if is_directory {
        return staging.directory(&path);
    }
    let declared = entry.size();
    let written = staging.file(&path, entry)?;
    if written != declared {
        return Err(UnpackError::Corrupt(format!(
            "it ends within entry \"{}\"",
            printable(&name)
        )));
    }
    Ok(())
}

fn skip(entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
    io::copy(&mut entry.take(HEADER_BYTES), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

fn damaged(error: io::Error) -> UnpackError {
    if error.raw_os_error().is_some() {
        return error.into();
    }
    UnpackError::Corrupt(error.to_string())
}
