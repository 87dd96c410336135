//! Archives of every kind, honest and hostile, built here byte by byte.

mod honest;
mod hostile;

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::config::Config;
use crate::model::store::{ArchiveRequest, Asker, ModelStore};

const MANIFEST: &str = r#"{"runtime": "python", "model": {"modelName": "m",
    "handler": "h.py", "configFile": "c.yaml"}}"#;

/// A store and a `models/` folder in a folder of their own.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        Self { folder }
    }

    fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn locate(&self, url: &str) -> LocatedArchive {
        let store = ModelStore::new(Some(self.store()), &[], Config::default().downloads);
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(store.locate(&ArchiveRequest::new(url, Asker::Client)))
            .unwrap()
    }

    fn unpack_limited(
        &self,
        name: &str,
        bytes: &[u8],
        limits: &UnpackLimits,
    ) -> Result<UnpackedArchive, Error> {
        fs::write(self.store().join(name), bytes).unwrap();
        unpack(&self.locate(name), &self.models(), limits)
    }

    fn unpack(&self, name: &str, bytes: &[u8]) -> Result<UnpackedArchive, Error> {
        self.unpack_limited(name, bytes, &UnpackLimits::default())
    }

    /// Unpacks what must be refused: checks that nothing is left, gives the text.
    fn refuse(&self, name: &str, bytes: &[u8]) -> String {
        self.refuse_limited(name, bytes, &UnpackLimits::default())
    }

    fn refuse_limited(&self, name: &str, bytes: &[u8], limits: &UnpackLimits) -> String {
        let error = self.unpack_limited(name, bytes, limits).unwrap_err();
        assert_eq!(error.code().http(), 500, "{error}");
        let text = error.to_string();
        let known = format!("Failed to save model: {name}: ");
        assert!(text.starts_with(&known), "{text}");
        self.assert_clean();
        text[known.len()..].to_owned()
    }

    /// Nothing but the archive is left.
    fn assert_clean(&self) {
        let count = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!(count(&self.models()), 0, "the models folder is not empty");
        assert_eq!(count(self.folder.path()), 2, "something escaped");
        assert!(count(&self.store()) <= 1, "something escaped to the store");
    }
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default();
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// The same bytes under another name of the same length, in both places where a zip has it.
fn renamed(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut start = 0;
    let mut count = 0;
    while let Some(at) = bytes[start..]
        .windows(from.len())
        .position(|window| window == from)
    {
        bytes[start + at..start + at + from.len()].copy_from_slice(to);
        start += at + from.len();
        count += 1;
    }
    assert_eq!(count, 2, "one name in the entry, one in the directory");
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar entry whose name is written as it is, which the library's own writer refuses to do.
fn tar_entry(kind: u8, name: &str, link: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    let mut entry = header.as_bytes().to_vec();
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn tgz_of(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&tar_of(entries))
}

fn plain(name: &str, content: &[u8]) -> Vec<u8> {
    tar_entry(b'0', name, "", 0o644, content)
}
