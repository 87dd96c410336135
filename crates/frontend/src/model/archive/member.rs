//! Reads one file of an archive without unpacking the rest, for those who only want to know.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use tar::Archive;
use zip::read::ZipArchive;
use zip::result::ZipError;

use super::zipped::is_zip;

/// Manifests and configurations are a few hundred bytes.
const MAX_MEMBER_BYTES: u64 = 4 << 20;

/// The content of a file in an archive, or in a directory that stands for one; `None` when there is
/// no such file. Blocks.
///
/// # Errors
/// The archive cannot be read, or the file is too large for what it is.
pub fn read_member(archive: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    if name.is_empty() {
        return Ok(None);
    }
    if archive.is_dir() {
        return match File::open(root_of(archive)?.join(name)) {
            Ok(file) => content(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
    }
    let mut file = File::open(archive)?;
    if archive.extension().is_none_or(|it| it != "mar") {
        return of_tape(file, name);
    }
    if !is_zip(&mut file)? {
        return Ok(None);
    }
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(io::Error::other)?;
    match zip.by_name(name) {
        Ok(member) => content(member).map(Some),
        Err(ZipError::FileNotFound) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// A directory that holds nothing but one directory stands for that one.
fn root_of(directory: &Path) -> io::Result<std::path::PathBuf> {
    let mut children = std::fs::read_dir(directory)?;
    if let (Some(only), None) = (children.next().transpose()?, children.next())
        && only.path().is_dir()
    {
        return Ok(only.path());
    }
    Ok(directory.to_path_buf())
}

/// The first component of every path in a tar is dropped.
fn of_tape(file: File, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut tape = Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tape.entries()? {
        let entry = entry?;
        let path = entry.path()?;
        let mut parts = path.components();
        parts.next();
        if parts.as_path() == Path::new(name) {
            return content(entry).map(Some);
        }
    }
    Ok(None)
}

fn content(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_MEMBER_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_MEMBER_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than {MAX_MEMBER_BYTES} bytes"
        )));
    }
    Ok(bytes)
}
