//! The committed code is what `proto/` says.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic_prost_build::Config;

/// The files of `proto/`.
const FILES: [&str; 3] = ["inference.proto", "management.proto", OPEN_INFERENCE];
/// The protocol that has two packages: TorchServe's, in the file, and the one of KServe and Triton.
const OPEN_INFERENCE: &str = "open_inference.proto";
const KSERVE_PACKAGE: &str = "inference";
/// Where their description is committed.
const DESCRIPTORS: &str = "descriptors.bin";

fn generate(folder: &Path) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut compiler = protox::Compiler::new([repository.join("proto")]).unwrap();
    compiler.include_imports(true).open_files(FILES).unwrap();
    // Comments are for readers of proto/ and of the generated code, not for every client.
    let mut commented = compiler.include_source_info(true).file_descriptor_set();
    let mut bare = compiler.include_source_info(false).file_descriptor_set();
    let twin = twin_for_kserve(&bare);
    bare.file.push(twin);
    fs::write(folder.join(DESCRIPTORS), bare.encode_to_vec()).unwrap();
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

/// The open inference protocol under the package that stock clients call, for reflection: the code
/// is the same for both.
fn twin_for_kserve(files: &FileDescriptorSet) -> FileDescriptorProto {
    let is_it = |file: &&FileDescriptorProto| file.name() == OPEN_INFERENCE;
    let mut twin = files.file.iter().find(is_it).unwrap().clone();
    let prefix = format!(".{}.", twin.package());
    twin.name = Some("kserve_inference.proto".to_owned());
    twin.package = Some(KSERVE_PACKAGE.to_owned());
    let rename = |name: &mut Option<String>| {
        if let Some(rest) = name.as_deref().and_then(|name| name.strip_prefix(&prefix)) {
            *name = Some(format!(".{KSERVE_PACKAGE}.{rest}"));
        }
    };
    for message in &mut twin.message_type {
        let nested = message.nested_type.iter_mut();
        let fields = nested.flat_map(|inner| &mut inner.field);
        for field in fields.chain(&mut message.field) {
            rename(&mut field.type_name);
        }
    }
    for method in twin.service.iter_mut().flat_map(|it| &mut it.method) {
        rename(&mut method.input_type);
        rename(&mut method.output_type);
    }
    twin
}

/// Makes lists of entries of all maps, which is the same on the wire: handlers find their inputs in
/// the order in which the client wrote them, and none is hashed.
fn spread_maps(files: &mut FileDescriptorSet) {
    // Field number in descriptor.proto: a file's messages.
    const MESSAGES: i32 = 4;
    for file in &mut files.file {
        let locations = &mut file.source_code_info.get_or_insert_default().location;
        for (at, message) in (0..).zip(&mut file.message_type) {
            spread_nested(message, &[MESSAGES, at], locations);
        }
        locations.sort_by(|one, other| one.path.cmp(&other.path));
    }
}

/// The same for the messages inside one that lies at `path`.
fn spread_nested(message: &mut DescriptorProto, path: &[i32], locations: &mut Vec<Location>) {
    // Field numbers in descriptor.proto: a message's messages and fields.
    const NESTED: i32 = 3;
    const FIELDS: i32 = 2;
    for (inner, entry) in (0..).zip(&mut message.nested_type) {
        let path = [path, &[NESTED, inner]].concat();
        spread_nested(entry, &path, locations);
        let Some(options) = entry.options.as_mut().filter(|it| it.map_entry()) else {
            continue;
        };
        options.map_entry = Some(false);
        // Nothing stands in the file for these; the generator wants to look it up.
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
