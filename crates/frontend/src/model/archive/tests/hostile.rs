//! What must be refused without a trace.

use proptest::prelude::*;

use super::*;

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
