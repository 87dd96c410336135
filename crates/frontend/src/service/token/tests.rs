//! Keys open what they are for, until they expire or are replaced.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::Value;

use super::*;

struct Scene {
    folder: tempfile::TempDir,
    tokens: TokenService,
}

impl Scene {
    fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            disable_token_authorization: false,
            ..config
        };
        let tokens = TokenService::start_in(folder.path(), &config).unwrap();
        Self { folder, tokens }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(KEY_FILE)
    }

    fn page(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    fn key(&self, kind: &str) -> String {
        self.page()[kind]["key"].as_str().unwrap().to_owned()
    }

    fn opens(&self, scope: Scope, header: &str) -> bool {
        self.tokens
            .authorize(scope, Some(header.as_bytes()))
            .is_ok()
    }

    fn rotate(&self, key: &str, kind: Option<&str>) -> Result<(), Error> {
        let header = format!("Bearer {key}");
        let rotation = self.tokens.rotation(Some(header.as_bytes()), kind)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(rotation.run())
    }
}

#[test]
fn the_file_is_that_of_the_original_and_nobody_elses_business() {
    let scene = Scene::new(Config::default());
    let mode = std::fs::metadata(scene.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(scene.file()).unwrap();
    let at = |word: &str| text.find(word).unwrap();
    assert!(at("\"management\"") < at("\"inference\"") && at("\"inference\"") < at("\"API\""));
    let page = scene.page();
    for kind in ["management", "inference", "API"] {
        assert_eq!(scene.key(kind).len(), 8);
        let expires = page[kind].get("expiration time");
        assert_eq!(expires.is_some(), kind != "API");
    }
    let left: Vec<_> = std::fs::read_dir(scene.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn each_key_opens_its_own_scope() {
    let scene = Scene::new(Config::default());
    for (kind, inference, management, any) in [
        ("inference", true, false, true),
        ("management", false, true, true),
        ("API", false, false, false),
    ] {
        let header = format!("Bearer {}", scene.key(kind));
        assert_eq!(scene.opens(Scope::Inference, &header), inference, "{kind}");
        assert_eq!(
            scene.opens(Scope::Management, &header),
            management,
            "{kind}"
        );
        assert_eq!(scene.opens(Scope::Any, &header), any, "{kind}");
    }
}

#[test]
fn the_scheme_is_case_sensitive_and_may_be_followed_by_spaces() {
    let scene = Scene::new(Config::default());
    let key = scene.key("inference");
    assert!(scene.opens(Scope::Inference, &format!("Bearer   {key}")));
    for header in [
        format!("bearer {key}"),
        format!("BEARER {key}"),
        format!("Bearer{key}"),
        format!("Basic {key}"),
        format!("Bearer {key}x"),
        format!("Bearer {}", &key[1..]),
        key,
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        String::new(),
    ] {
        assert!(!scene.opens(Scope::Inference, &header), "{header}");
    }
    let error = scene.tokens.authorize(Scope::Any, None).unwrap_err();
    assert_eq!(error.wire_name(), "InvalidKeyException");
    assert_eq!(error.code().http(), 400);
    assert!(
        error
            .to_string()
            .starts_with("Token Authorization failed. ")
    );
}

#[test]
fn keys_expire_but_the_one_that_replaces_them() {
    let scene = Scene::new(Config {
        token_lifetime: Duration::ZERO,
        ..Config::default()
    });
    for (kind, scope) in [
        ("inference", Scope::Inference),
        ("management", Scope::Management),
    ] {
        assert!(!scene.opens(scope, &format!("Bearer {}", scene.key(kind))));
        scene.rotate(&scene.key("API"), Some(kind)).unwrap();
    }
}

#[test]
fn a_new_key_replaces_one_key_and_leaves_the_others() {
    let scene = Scene::new(Config::default());
    let before = scene.page();
    scene.rotate(&scene.key("API"), Some("inference")).unwrap();
    let after = scene.page();
    assert_ne!(before["inference"], after["inference"]);
    assert_eq!(before["management"], after["management"]);
    assert_eq!(before["API"], after["API"]);
    let old = format!("Bearer {}", before["inference"]["key"].as_str().unwrap());
    assert!(!scene.opens(Scope::Inference, &old));
    assert!(scene.opens(
        Scope::Inference,
        &format!("Bearer {}", scene.key("inference"))
    ));
}

#[test]
fn a_new_key_needs_the_api_key_and_a_kind() {
    let scene = Scene::new(Config::default());
    let before = scene.page();
    let (api, management) = (scene.key("API"), scene.key("management"));
    for (key, kind) in [
        (&management, Some("inference")),
        (&api, None),
        (&api, Some("API")),
        (&api, Some("Inference")),
    ] {
        let error = scene.rotate(key, kind).unwrap_err();
        assert_eq!(error.wire_name(), "InvalidKeyException");
        assert!(
            error
                .to_string()
                .starts_with("Token Authentication failed. ")
        );
    }
    assert_eq!(before, scene.page());
}

#[test]
fn a_key_that_cannot_be_written_is_not_used() {
    let scene = Scene::new(Config::default());
    let (api, old) = (scene.key("API"), scene.key("inference"));
    // A folder in the file's place cannot be replaced by a file, not even by root.
    std::fs::remove_file(scene.file()).unwrap();
    std::fs::create_dir(scene.file()).unwrap();
    let error = scene.rotate(&api, Some("inference")).unwrap_err();
    assert_eq!(error.code().http(), 500);
    assert!(scene.opens(Scope::Inference, &format!("Bearer {old}")));
}

#[test]
fn a_link_in_the_files_place_is_replaced_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("precious");
    std::fs::write(&target, "mine").unwrap();
    symlink(&target, folder.path().join(KEY_FILE)).unwrap();
    TokenService::start_in(folder.path(), &Config::default()).unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
}

#[test]
fn without_a_file_only_tokens_of_the_operators_own_help() {
    let nowhere = Path::new("/nonexistent");
    let error = TokenService::start_in(nowhere, &Config::default()).unwrap_err();
    assert!(error.to_string().contains("TSERVE_INFERENCE_TOKEN"));
    let config = Config {
        static_tokens: StaticTokens {
            inference: Some(Secret::new("read".to_owned())),
            management: Some(Secret::new("write".to_owned())),
        },
        ..Config::default()
    };
    let tokens = TokenService::start_in(nowhere, &config).unwrap();
    let opens = |scope, header: &str| tokens.authorize(scope, Some(header.as_bytes())).is_ok();
    assert!(opens(Scope::Inference, "Bearer read"));
    assert!(opens(Scope::Management, "Bearer write"));
    assert!(!opens(Scope::Management, "Bearer read") && !opens(Scope::Inference, "Bearer write"));
}

#[test]
fn nothing_is_asked_for_when_tokens_are_off() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        disable_token_authorization: true,
        ..Config::default()
    };
    let tokens = TokenService::start_in(folder.path(), &config).unwrap();
    assert!(!tokens.is_on() && tokens.authorize(Scope::Management, None).is_ok());
    let rotation = tokens.rotation(Some(b"Bearer x"), Some("inference"));
    assert_eq!(rotation.unwrap_err(), Error::ResourceNotFound);
    assert!(!folder.path().join(KEY_FILE).exists());
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let scene = Scene::new(Config {
        static_tokens: StaticTokens {
            inference: Some(Secret::new("hush".to_owned())),
            management: None,
        },
        ..Config::default()
    });
    let shown = format!("{:?}", scene.tokens);
    assert!(!shown.contains("hush"), "{shown}");
    for kind in ["management", "inference", "API"] {
        assert!(!shown.contains(&scene.key(kind)));
    }
}
