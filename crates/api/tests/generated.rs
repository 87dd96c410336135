//! The committed code is what `proto/` says.

use std::fs;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;
use prost_types::source_code_info::Location;
use tonic_prost_build::Config;

/// The files of `proto/`.
const FILES: [&str; 2] = ["inference.proto", "management.proto"];
/// Where their description is committed.
const DESCRIPTORS: &str = "descriptors.bin";

fn generate(folder: &Path) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut compiler = protox::Compiler::new([repository.join("proto")]).unwrap();
    compiler.include_imports(true).open_files(FILES).unwrap();
    // Comments are for readers of proto/ and of the generated code, not for every client.
    let mut commented = compiler.include_source_info(true).file_descriptor_set();
    let bare = compiler
        .include_source_info(false)
        .encode_file_descriptor_set();
    fs::write(folder.join(DESCRIPTORS), bare).unwrap();
    let mut config = Config::new();
    // Inputs and predictions are slices of the bytes that came over the wire.
    config.bytes(["."]);
    spread_maps(&mut commented);
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(folder)
        .compile_fds_with_config(commented, config)
        .unwrap();
}

/// Makes lists of entries of all maps, which is the same on the wire: handlers find their inputs in
/// the order in which the client wrote them, and none is hashed.
fn spread_maps(files: &mut FileDescriptorSet) {
    // Field numbers in descriptor.proto: a file's messages, a message's messages and fields.
    const MESSAGES: i32 = 4;
    const NESTED: i32 = 3;
    const FIELDS: i32 = 2;
    for file in &mut files.file {
        let locations = &mut file.source_code_info.get_or_insert_default().location;
        for (at, message) in (0..).zip(&mut file.message_type) {
            for (inner, entry) in (0..).zip(&mut message.nested_type) {
                if let Some(options) = &mut entry.options {
                    options.map_entry = Some(false);
                }
                // Nothing stands in the file for these; the generator wants to look it up.
                let path = vec![MESSAGES, at, NESTED, inner];
                let fields = (0..).zip(&entry.field);
                let fields = fields.map(|(field, _)| [&path[..], &[FIELDS, field]].concat());
                let paths: Vec<_> = fields.chain([path.clone()]).collect();
                locations.extend(paths.into_iter().map(|path| Location {
                    path,
                    span: vec![0, 0, 0],
                    ..Location::default()
                }));
            }
        }
        locations.sort_by(|one, other| one.path.cmp(&other.path));
    }
}

#[test]
fn committed_code_is_generated_from_the_interface_files() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(&committed).unwrap();
        return generate(&committed);
    }
    let fresh = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&fresh).unwrap();
    generate(&fresh);
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&committed), names(&fresh));
    for name in names(&fresh) {
        let is_same =
            fs::read(committed.join(&name)).unwrap() == fs::read(fresh.join(&name)).unwrap();
        assert!(
            is_same,
            "src/generated/{} is not what proto/ says: run it with UPDATE_GENERATED=1",
            name.display()
        );
    }
}
