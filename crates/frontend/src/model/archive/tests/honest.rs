//! What archivers make, and what else the original accepts.

use std::os::unix::fs::PermissionsExt;

use super::*;

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
