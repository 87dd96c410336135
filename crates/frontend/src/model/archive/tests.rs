//! Archives of every kind, honest and hostile, built here byte by byte.

use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;
use crate::model::store::{DownloadLimits, IfPresent, ModelStore};

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
        let store = ModelStore::new(Some(self.store()), &[], DownloadLimits::default());
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(store.locate(url, IfPresent::Refuse))
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

#[test]
fn a_mar_becomes_a_folder_that_goes_when_it_is_dropped() {
    let bench = Bench::new();
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, content) in [
            ("h.py", "pass"),
            ("sub/dir/x.txt", "x"),
            ("MAR-INF/MANIFEST.json", MANIFEST),
        ] {
            writer.start_file(name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        let archive = bench.unpack("m.mar", &bytes).unwrap();
        let manifest = archive.manifest().unwrap();
        assert_eq!(manifest.model_name.as_deref(), Some("m"));
        assert_eq!(archive.link_parent(), None);
        assert_eq!(archive.packages_directory(), archive.directory());
        let name = archive.directory().file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 32 && name.bytes().all(|c| c.is_ascii_hexdigit()));
        let nested = archive.directory().join("sub/dir/x.txt");
        assert_eq!(fs::read_to_string(nested).unwrap(), "x");
        drop(archive);
        bench.assert_clean();
    }
}

#[test]
fn every_other_file_is_a_gzipped_tar_without_its_first_folder() {
    let bench = Bench::new();
    for prefix in ["m/", "./"] {
        let bytes = tgz_of(&[
            tar_entry(b'5', prefix, "", 0o755, b""),
            plain(&format!("{prefix}h.py"), b"pass"),
            tar_entry(
                b'g',
                "pax_global_header",
                "",
                0o644,
                b"52 comment=0123456789012345678901234567890123456789\n",
            ),
            plain(
                &format!("{prefix}MAR-INF/MANIFEST.json"),
                MANIFEST.as_bytes(),
            ),
            plain("alone.txt", b"kept"),
        ]);
        for name in ["m.tar.gz", "m.model"] {
            let archive = bench.unpack(name, &bytes).unwrap();
            assert!(archive.manifest().is_some());
            assert!(archive.directory().join("h.py").is_file());
            assert!(archive.directory().join("alone.txt").is_file());
            fs::remove_file(bench.store().join(name)).unwrap();
        }
    }
    bench.assert_clean();
}

#[test]
fn long_names_of_tar_are_understood() {
    let bench = Bench::new();
    let long = format!("m/{}/{}.txt", "d".repeat(120), "f".repeat(120));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let archive = bench
        .unpack("m.tar.gz", &gzip(&builder.into_inner().unwrap()))
        .unwrap();
    assert!(archive.directory().join(&long[2..]).is_file());
}

#[test]
fn modes_of_an_archive_are_not_taken_over() {
    let bench = Bench::new();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o777);
    writer.start_file("h.py", options).unwrap();
    let mar = writer.finish().unwrap().into_inner();
    let tgz = tgz_of(&[
        tar_entry(b'5', "m/d/", "", 0o7777, b""),
        tar_entry(b'0', "m/h.py", "", 0o4777, b"x"),
    ]);
    for (name, bytes) in [("m.mar", mar), ("m.tar.gz", tgz)] {
        let archive = bench.unpack(name, &bytes).unwrap();
        let mode = |path: &str| {
            let found = fs::metadata(archive.directory().join(path)).unwrap();
            found.permissions().mode() & 0o7777
        };
        assert_eq!(mode("h.py") & !0o644, 0);
        assert_eq!(mode(".") & !0o755, 0);
    }
}

#[test]
fn a_mar_that_is_no_zip_is_an_empty_archive() {
    let bench = Bench::new();
    for bytes in [&b"this is not a zip archive at all\n"[..], b"", b"PK"] {
        let archive = bench.unpack("garbage.mar", bytes).unwrap();
        assert!(archive.manifest().is_none());
        assert_eq!(fs::read_dir(archive.directory()).unwrap().count(), 0);
    }
    let empty = zip_of(&[]);
    assert!(
        bench
            .unpack("garbage.mar", &empty)
            .unwrap()
            .manifest()
            .is_none()
    );
    bench.assert_clean();
}

#[test]
fn a_bad_manifest_leaves_nothing_behind() {
    let bench = Bench::new();
    let bytes = zip_of(&[("MAR-INF/MANIFEST.json", b"{not json")]);
    let error = bench.unpack("m.mar", &bytes).unwrap_err();
    assert_eq!(error.to_string(), "Failed to parse signature.json.");
    assert_eq!(error.code().http(), 400);
    bench.assert_clean();
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    let bench = Bench::new();
    // The last two are spelled so that only the whole path shows what they are.
    for (name, reason) in [
        ("../../../escaped", "points outside the model folder"),
        ("a/../../escaped", "points outside the model folder"),
        ("a/b/../c", "points outside the model folder"),
        ("/tmp/escaped", "has an absolute path"),
        ("..\\..\\escaped", "has a backslash in its name"),
        ("C:/escaped", "starts with a drive letter"),
        ("c:escaped", "starts with a drive letter"),
        ("a\nb", "has control characters in its name"),
        ("m/../../escaped", "points outside the model folder"),
        ("m//../escaped", "points outside the model folder"),
    ] {
        let placeholder = "x".repeat(name.len());
        let mar = renamed(
            zip_of(&[("ok.txt", b"ok"), (&placeholder, b"bad")]),
            placeholder.as_bytes(),
            name.as_bytes(),
        );
        let text = bench.refuse("m.mar", &mar);
        assert!(text.ends_with(reason), "{name}: {text}");
        assert!(!text.contains('\n'), "{text}");
        fs::remove_file(bench.store().join("m.mar")).unwrap();
        let tgz = tgz_of(&[plain("m/ok.txt", b"ok"), plain(name, b"bad")]);
        let text = bench.refuse("m.tar.gz", &tgz);
        assert!(text.ends_with(reason), "{name}: {text}");
        fs::remove_file(bench.store().join("m.tar.gz")).unwrap();
    }
}

#[test]
fn links_and_devices_are_refused() {
    let bench = Bench::new();
    for kind in [b'1', b'2', b'3', b'4', b'6', b'S'] {
        let tgz = tgz_of(&[tar_entry(kind, "m/link", "/etc/passwd", 0o777, b"")]);
        let text = bench.refuse("m.tar.gz", &tgz);
        assert!(
            text.starts_with("entry \"m/link\" is ") || text.contains("corrupt"),
            "{text}"
        );
    }
    fs::remove_file(bench.store().join("m.tar.gz")).unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
        .unwrap();
    let mar = writer.finish().unwrap().into_inner();
    assert_eq!(
        bench.refuse("m.mar", &mar),
        "entry \"link\" is a link or a device"
    );
}

#[test]
fn writing_through_a_link_of_the_same_archive_is_impossible() {
    let bench = Bench::new();
    let outside = bench.folder.path().to_str().unwrap().to_owned();
    let tgz = tgz_of(&[
        tar_entry(b'2', "m/out", &outside, 0o777, b""),
        plain("m/out/escaped", b"bad"),
    ]);
    assert_eq!(bench.refuse("m.tar.gz", &tgz), "entry \"m/out\" is a link");
}

#[test]
fn a_bomb_is_stopped_by_what_it_writes() {
    let bench = Bench::new();
    let zeros = vec![0; 8 << 20];
    let limits = UnpackLimits {
        ratio_exempt_bytes: 1 << 20,
        max_ratio: 50,
        ..UnpackLimits::default()
    };
    let mar = zip_of(&[("zeros", &zeros)]);
    assert!(mar.len() < 16 << 10);
    let tgz = gzip(&tar_of(&[plain("m/zeros", &zeros)]));
    for (name, bytes) in [("m.mar", &mar), ("m.tar.gz", &tgz)] {
        let text = bench.refuse_limited(name, bytes, &limits);
        assert!(
            text.starts_with("the archive unpacks to more than "),
            "{text}"
        );
        fs::remove_file(bench.store().join(name)).unwrap();
    }
    let limits = UnpackLimits {
        max_unpacked_bytes: (8 << 20) - 1,
        ..UnpackLimits::default()
    };
    let text = bench.refuse_limited("m.mar", &mar, &limits);
    assert!(text.contains("more than 8388607 bytes"), "{text}");
    // Weights hardly compress, so only the ratio can refuse a small archive, never a large model.
    assert!(bench.unpack("m.mar", &mar).is_ok());
}

#[test]
fn a_size_that_the_archive_lies_about_is_not_believed() {
    let bench = Bench::new();
    let mut mar = zip_of(&[("zeros", &vec![0; 100_000])]);
    // Uncompressed size, at 22 of the entry and at 24 of the directory entry: 10 bytes.
    mar[22..26].copy_from_slice(&10_u32.to_le_bytes());
    let directory = mar.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    mar[directory + 24..directory + 28].copy_from_slice(&10_u32.to_le_bytes());
    let text = bench.refuse("m.mar", &mar);
    assert!(text.starts_with("the archive is corrupt: "), "{text}");
}

#[test]
fn huge_numbers_of_entries_are_refused() {
    let bench = Bench::new();
    let names: Vec<_> = (0..50).map(|i| format!("d{i}/f")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let mar = zip_of(&entries);
    let tars: Vec<_> = names
        .iter()
        .map(|name| plain(&format!("m/{name}"), b""))
        .collect();
    // 100 things are made of 50 entries, because each has a folder of its own.
    for (limit, is_refused) in [(49, true), (99, true), (100, false)] {
        let limits = UnpackLimits {
            max_entries: limit,
            ..UnpackLimits::default()
        };
        for (name, bytes) in [("m.mar", mar.clone()), ("m.tar.gz", tgz_of(&tars))] {
            if is_refused {
                let text = bench.refuse_limited(name, &bytes, &limits);
                assert_eq!(
                    text,
                    format!("the archive has more than {limit} files and folders")
                );
            } else {
                assert!(bench.unpack_limited(name, &bytes, &limits).is_ok());
            }
            fs::remove_file(bench.store().join(name)).unwrap();
        }
    }
}

#[test]
fn a_directory_that_claims_millions_of_entries_is_not_read() {
    let bench = Bench::new();
    let mut mar = zip_of(&[("f", b"x")]);
    let end = mar.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    mar[end + 8..end + 10].copy_from_slice(&u16::MAX.to_le_bytes());
    mar[end + 10..end + 12].copy_from_slice(&u16::MAX.to_le_bytes());
    assert!(bench.refuse("m.mar", &mar).contains("corrupt"));
}

#[test]
fn very_long_names_are_refused() {
    let bench = Bench::new();
    let deep = "d/".repeat(100) + "f";
    let wide = "n".repeat(300);
    let far = format!("{}/f", "p".repeat(200)).repeat(12);
    for (name, reason) in [
        (&deep, "is nested too deeply"),
        (&wide, "has too long a name"),
        (&far, "has too long a path"),
    ] {
        let text = bench.refuse("m.mar", &zip_of(&[(name, b"x")]));
        assert!(text.ends_with(reason), "{text}");
        assert!(text.len() < 200, "{text}");
    }
}

#[test]
fn a_long_name_of_a_gigabyte_is_not_collected() {
    let bench = Bench::new();
    let mut long = tar_entry(b'L', "././@LongLink", "", 0o644, &vec![b'a'; 8 << 20]);
    long.extend(plain("m/f", b"x"));
    let text = bench.refuse("m.tar.gz", &tgz_of(&[long]));
    assert!(text.contains("its headers are too large"), "{text}");
}

#[test]
fn entries_that_occur_twice_are_refused() {
    let bench = Bench::new();
    let twice = renamed(
        zip_of(&[("a.py", b"one"), ("b.py", b"two")]),
        b"b.py",
        b"a.py",
    );
    assert!(bench.refuse("m.mar", &twice).contains("same name"));
    let spelled = zip_of(&[("a.py", b"one"), ("./a.py", b"two")]);
    assert_eq!(
        bench.refuse("m.mar", &spelled),
        "entry \"a.py\" occurs twice"
    );
    let both = zip_of(&[("a", b"file"), ("a/b", b"in it")]);
    assert_eq!(
        bench.refuse("m.mar", &both),
        "entry \"a\" is both a file and a folder"
    );
    fs::remove_file(bench.store().join("m.mar")).unwrap();
    let tgz = tgz_of(&[plain("m/a", b"one"), plain("m/a", b"two")]);
    assert_eq!(bench.refuse("m.tar.gz", &tgz), "entry \"a\" occurs twice");
    // The same folder twice is usual.
    let folders = zip_of(&[("d/", b""), ("d/f", b"x"), ("d/e/", b"")]);
    fs::remove_file(bench.store().join("m.tar.gz")).unwrap();
    assert!(bench.unpack("m.mar", &folders).is_ok());
}

#[test]
fn truncation_anywhere_is_noticed() {
    let bench = Bench::new();
    let content: Vec<u8> = (0..20_000_u32)
        .flat_map(|i| (i * i).to_le_bytes())
        .collect();
    let mar = zip_of(&[
        ("a.bin", &content),
        ("MAR-INF/MANIFEST.json", MANIFEST.as_bytes()),
    ]);
    let tgz = tgz_of(&[
        plain("m/a.bin", &content),
        plain("m/MAR-INF/MANIFEST.json", MANIFEST.as_bytes()),
    ]);
    for part in 1..20 {
        let cut = mar.len() * part / 20;
        assert!(
            bench
                .refuse("m.mar", &mar[..cut.max(4)])
                .contains("corrupt")
        );
    }
    fs::remove_file(bench.store().join("m.mar")).unwrap();
    for part in 0..20 {
        bench.refuse("m.tar.gz", &tgz[..tgz.len() * part / 20]);
    }
    // Whole as gzip, cut as tar.
    let cut = gzip(&plain("m/a.bin", &content)[..10_000]);
    assert!(
        bench
            .refuse("m.tar.gz", &cut)
            .contains("ends within entry \"m/a.bin\"")
    );
}

#[test]
fn corruption_is_noticed_by_check_sums() {
    let bench = Bench::new();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.start_file("a.bin", options).unwrap();
    writer.write_all(&[7; 1000]).unwrap();
    let mut mar = writer.finish().unwrap().into_inner();
    mar[500] ^= 1;
    assert!(
        bench
            .refuse("m.mar", &mar)
            .starts_with("the archive is corrupt: ")
    );
    fs::remove_file(bench.store().join("m.mar")).unwrap();
    let mut tgz = tgz_of(&[plain("m/a.bin", &[7; 1000])]);
    let check_sum = tgz.len() - 8;
    tgz[check_sum] ^= 1;
    assert!(
        bench
            .refuse("m.tar.gz", &tgz)
            .starts_with("the archive is corrupt: ")
    );
    assert!(
        bench
            .refuse("m.tar.gz", b"no gzip at all")
            .contains("corrupt")
    );
}

#[test]
fn two_directories_that_disagree_are_refused() {
    let bench = Bench::new();
    let mut mar = zip_of(&[("innocent.txt", b"x")]);
    let at = mar.windows(8).position(|w| w == b"innocent").unwrap();
    mar[at..at + 8].copy_from_slice(b"surprise");
    assert!(bench.refuse("m.mar", &mar).contains("corrupt"));
}

#[test]
fn a_directory_is_linked_and_stays_when_the_model_goes() {
    let bench = Bench::new();
    let source = bench.store().join("noarch");
    fs::create_dir_all(source.join("MAR-INF")).unwrap();
    fs::write(source.join("MAR-INF/MANIFEST.json"), MANIFEST).unwrap();
    fs::write(source.join("h.py"), "pass").unwrap();
    let archive = unpack(
        &bench.locate("noarch"),
        &bench.models(),
        &UnpackLimits::default(),
    )
    .unwrap();
    assert!(archive.manifest().is_some());
    assert!(archive.directory().ends_with("noarch"));
    assert_eq!(
        fs::canonicalize(archive.directory()).unwrap(),
        fs::canonicalize(&source).unwrap()
    );
    let parent = archive.link_parent().unwrap();
    assert_eq!(archive.directory().parent(), Some(parent));
    assert_eq!(archive.packages_directory(), parent);
    drop(archive);
    assert!(source.join("h.py").is_file());
    bench.assert_clean();
}

#[test]
fn a_directory_that_holds_one_directory_stands_for_that_one() {
    let bench = Bench::new();
    let inner = bench.store().join("outer/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("h.py"), "pass").unwrap();
    let archive = unpack(
        &bench.locate("outer"),
        &bench.models(),
        &UnpackLimits::default(),
    )
    .unwrap();
    assert!(archive.directory().ends_with("inner"));
    assert!(archive.directory().join("h.py").is_file());
}

#[test]
fn members_are_only_found_inside() {
    let bench = Bench::new();
    let archive = bench
        .unpack("m.mar", &zip_of(&[("c.yaml", b"a: 1")]))
        .unwrap();
    assert!(archive.member("c.yaml").unwrap().is_file());
    for name in ["../c.yaml", "/etc/passwd", "a/../../b", ""] {
        assert_eq!(archive.member(name), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is changed in an archive, it is unpacked or refused, never both and never more.
    #[test]
    fn no_change_makes_it_panic_or_leave_something(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_zip in any::<bool>(),
    ) {
        let bench = Bench::new();
        let (name, mut bytes) = if is_zip {
            ("m.mar", zip_of(&[("a.txt", b"abc"), ("MAR-INF/MANIFEST.json", MANIFEST.as_bytes())]))
        } else {
            ("m.tar.gz", tar_of(&[plain("m/a.txt", b"abc"), plain("m/MAR-INF/MANIFEST.json", MANIFEST.as_bytes())]))
        };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = if is_zip { bytes } else { gzip(&bytes) };
        let _ = bench.unpack(name, &bytes);
        bench.assert_clean();
    }
}
