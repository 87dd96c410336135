//! Keys of token authorization.

use std::time::Duration;

use super::super::value::boolean;
use super::{Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Tokens",
    keys: &[
        Key::new(
            "disable_token_authorization",
            form::BOOLEAN,
            Some("false"),
            "Whether requests need no token; `--disable-token-auth` switches it on. While this is \
             `false`, requests need `Authorization: Bearer KEY` with a key of `key_file.json`, which \
             the server writes into the folder it is started in, or with a token of your own: \
             `TSERVE_INFERENCE_TOKEN` and `TSERVE_MANAGEMENT_TOKEN`, or the files that \
             `TSERVE_INFERENCE_TOKEN_FILE` and `TSERVE_MANAGEMENT_TOKEN_FILE` name.",
            |draft, text| boolean(text).map(|it| draft.config.disable_token_authorization = it),
        )
        .env("TS_DISABLE_TOKEN_AUTHORIZATION"),
        Key::new(
            "token_expiration_min",
            "minutes, fractions allowed",
            Some("60"),
            "How long the keys in `key_file.json` are valid; tokens of your own do not expire.",
            |draft, text| {
                let lifetime = minutes(text).ok_or("is not a number of minutes above 0")?;
                draft.config.token_lifetime = lifetime;
                Ok(())
            },
        )
        .env("TS_TOKEN_EXPIRATION_TIME_MIN"),
    ],
};

/// A time in minutes; one that nobody will live to see is as good as for ever.
fn minutes(text: &str) -> Option<Duration> {
    const LONGEST: f64 = 60.0 * 24.0 * 365.0 * 1000.0;
    let minutes = text.trim().parse::<f64>().ok()?;
    (minutes.is_finite() && minutes > 0.0)
        .then(|| Duration::from_secs_f64(minutes.min(LONGEST) * 60.0))
}
