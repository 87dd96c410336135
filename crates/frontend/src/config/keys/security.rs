//! Keys of token authorization.

use super::super::value::boolean;
use super::{Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Tokens",
    keys: &[
        Key::new(
            "disable_token_authorization",
            form::BOOLEAN,
            Some("false"),
            "Whether requests need no token; `--disable-token-auth` switches it on. Tokens are not \
             built yet: while this is `false`, the server only starts when every address is on \
             this machine.",
            |draft, text| boolean(text).map(|it| draft.config.disable_token_authorization = it),
        )
        .env("TS_DISABLE_TOKEN_AUTHORIZATION"),
        Key::new(
            "token_expiration_min",
            "minutes, fractions allowed",
            Some("60"),
            "How long a token is valid.",
            |_, text| match text.trim().parse::<f64>() {
                Ok(minutes) if minutes.is_finite() && minutes > 0.0 => Ok(()),
                _ => Err("is not a number of minutes above 0".to_owned()),
            },
        )
        .env("TS_TOKEN_EXPIRATION_TIME_MIN")
        .planned("token authorization"),
    ],
};
