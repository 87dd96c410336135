//! Keys of fetching archives: from where, and within which limits.

use super::super::value::{boolean, seconds, url_patterns, whole};
use super::{Env, Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Downloads of models",
    keys: &[
        Key::new(
            "allowed_urls",
            "regular expressions separated by commas",
            Some("file://.*|http(s)?://.*"),
            "URLs that models may be fetched from; an expression has to match the whole URL, in \
             any case of letters. `s3://`, `gs://` and `az://` URLs are fetched only where an \
             expression is added for them ([model stores](../guide/model-stores.md)).",
            |draft, text| url_patterns(text).map(|it| draft.config.allowed_urls = it),
        )
        .env_as(Env::Gated("TS_ALLOWED_URLS")),
        Key::new(
            "use_env_allowed_urls",
            form::BOOLEAN,
            Some("false"),
            "Whether `TS_ALLOWED_URLS` may set `allowed_urls`; `enable_envvars_config` is needed \
             too.",
            |draft, text| boolean(text).map(|it| draft.use_env_allowed_urls = it),
        ),
        Key::new(
            "allow_private_urls",
            form::BOOLEAN,
            Some("true"),
            "Whether models may be fetched from private networks and from this machine when \
             `allowed_urls` does not name the host. Link-local addresses, where clouds keep \
             credentials, always have to be named. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.downloads.allow_private = it),
        )
        .env("TS_ALLOW_PRIVATE_URLS"),
        Key::new(
            "max_download_size",
            "bytes, at least 1",
            Some("549755813888"),
            "Largest archive that is fetched. Not known to TorchServe.",
            |draft, text| {
                whole(text, 1, i64::MAX as u64).map(|it| draft.config.downloads.max_bytes = it)
            },
        )
        .env("TS_MAX_DOWNLOAD_SIZE"),
        Key::new(
            "download_connect_timeout",
            form::SECONDS,
            Some("20"),
            "Longest wait for a connection to where a model is fetched from. Not known to \
             TorchServe.",
            |draft, text| seconds(text).map(|it| draft.config.downloads.connect_timeout = it),
        )
        .env("TS_DOWNLOAD_CONNECT_TIMEOUT"),
        Key::new(
            "download_stall_timeout",
            form::SECONDS,
            Some("60"),
            "Longest time in which less than 4 KiB of a download arrive; then it is resumed, or \
             given up. Not known to TorchServe.",
            |draft, text| seconds(text).map(|it| draft.config.downloads.stall_timeout = it),
        )
        .env("TS_DOWNLOAD_STALL_TIMEOUT"),
    ],
};
