//! Token authorization: who may infer, manage, and replace keys. Knows no protocol.
//!
//! Three random keys are made at every start and written to a file that only the server's own user
//! can read. The inference and the management key expire and can be replaced with the third, the
//! API key, which does neither. Tokens of the operator's own are accepted beside them.

mod key_file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::{Config, KEY_FILE, Secret, StaticTokens};
use crate::error::Error;

/// Random bytes of a key.
const KEY_BYTES: usize = 6;

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Predictions and health.
    Inference,
    /// Everything that changes or describes models.
    Management,
    /// Whatever exists for neither of the two: any key will do.
    Any,
}

/// Checks the credentials of requests; does nothing when tokens are switched off.
#[derive(Debug, Clone, Default)]
pub struct TokenService(Option<Arc<Keyring>>);

/// A request for a new key that has been allowed.
#[derive(Debug)]
pub struct Rotation {
    keyring: Arc<Keyring>,
    kind: Kind,
}

#[derive(Debug)]
struct Keyring {
    keys: ArcSwap<Keys>,
    fixed: StaticTokens,
    lifetime: Duration,
    file: PathBuf,
    /// Has one permit: two replacements at once could undo each other. Checks never wait for it.
    replacing: Arc<Semaphore>,
}

/// The keys that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inference,
    Management,
}

/// A key that expires.
#[derive(Clone)]
struct Key {
    text: String,
    expires: SystemTime,
}

/// The keys of one moment.
#[derive(Clone)]
struct Keys {
    management: Key,
    inference: Key,
    api: String,
}

impl TokenService {
    /// Lets everybody do everything.
    pub fn off() -> Self {
        Self(None)
    }

    /// Makes new keys and writes them to `key_file.json` in the working folder, unless the
    /// configuration switches tokens off.
    ///
    /// # Errors
    /// The file cannot be written, and without it nobody would know a key.
    pub fn start(config: &Config) -> Result<Self, KeyFileError> {
        let folder = std::env::current_dir().unwrap_or_default();
        Self::start_in(&folder, config)
    }

    fn start_in(folder: &Path, config: &Config) -> Result<Self, KeyFileError> {
        if config.disable_token_authorization {
            return Ok(Self::off());
        }
        let file = folder.join(KEY_FILE);
        let lifetime = config.token_lifetime;
        let keys = Keys {
            management: Key::new(lifetime),
            inference: Key::new(lifetime),
            api: random_key(),
        };
        let fixed = config.static_tokens.clone();
        let minutes = lifetime.as_secs_f64() / 60.0;
        match key_file::write(&file, &keys) {
            Ok(()) => tracing::info!(
                "token authorization is on: the keys are in {}, valid for {minutes} min; \
                 --disable-token-auth switches it off",
                file.display()
            ),
            Err(source) if fixed.inference.is_some() && fixed.management.is_some() => {
                tracing::warn!(
                    "{}: cannot be written: {source}; only the tokens from the environment are known",
                    file.display()
                );
            }
            Err(source) => return Err(KeyFileError { file, source }),
        }
        Ok(Self(Some(Arc::new(Keyring {
            keys: ArcSwap::from_pointee(keys),
            fixed,
            lifetime,
            file,
            replacing: Arc::new(Semaphore::new(1)),
        }))))
    }

    /// Whether requests need a token.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Checks the value of a request's `authorization` header or metadata.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] when it is absent, malformed, wrong or expired.
    pub fn authorize(&self, scope: Scope, authorization: Option<&[u8]>) -> Result<(), Error> {
        let Some(keyring) = &self.0 else {
            return Ok(());
        };
        if bearer(authorization).is_some_and(|token| keyring.opens(scope, token)) {
            return Ok(());
        }
        Err(refused("Authorization"))
    }

    /// Whether whoever presents this may read which models are not ready, and why. Probes, which
    /// present nothing, learn whether the server is.
    pub fn shows_details(&self, authorization: Option<&[u8]>) -> bool {
        self.authorize(Scope::Any, authorization).is_ok()
    }

    /// Checks a request for a new key of the kind that `wanted` names, `management` or
    /// `inference`. It needs the API key.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for another key or kind, [`Error::ResourceNotFound`] when tokens are
    /// off.
    pub fn rotation(
        &self,
        authorization: Option<&[u8]>,
        wanted: Option<&str>,
    ) -> Result<Rotation, Error> {
        let keyring = self.0.as_ref().ok_or(Error::ResourceNotFound)?;
        let kind = match wanted {
            Some("management") => Some(Kind::Management),
            Some("inference") => Some(Kind::Inference),
            _ => None,
        };
        let is_allowed = bearer(authorization)
            .is_some_and(|token| bool::from(token.ct_eq(keyring.keys.load().api.as_bytes())));
        match kind {
            Some(kind) if is_allowed => Ok(Rotation {
                keyring: Arc::clone(keyring),
                kind,
            }),
            _ => Err(refused("Authentication")),
        }
    }
}

impl Rotation {
    /// Replaces the key in the file, then in the server; the old one is worth nothing from then on.
    ///
    /// # Errors
    /// [`Error::Internal`] when the file cannot be written; the old key stays valid.
    pub async fn run(self) -> Result<(), Error> {
        let turn = Arc::clone(&self.keyring.replacing).acquire_owned().await;
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn.map_err(io::Error::other)?;
            self.keyring.replace(self.kind)
        });
        written
            .await
            .unwrap_or_else(|failure| Err(io::Error::other(failure)))
            .map_err(|error| {
                Error::Internal(format!("The new key cannot be written to a file: {error}"))
            })
    }
}

impl Keyring {
    /// Whether a token is valid for a scope. Takes the same time whichever key is compared.
    fn opens(&self, scope: Scope, token: &[u8]) -> bool {
        let keys = self.keys.load();
        let now = SystemTime::now();
        let inference =
            keys.inference.fits(token, now) | is_fixed(self.fixed.inference.as_ref(), token);
        let management =
            keys.management.fits(token, now) | is_fixed(self.fixed.management.as_ref(), token);
        bool::from(match scope {
            Scope::Inference => inference,
            Scope::Management => management,
            Scope::Any => inference | management,
        })
    }

    fn replace(&self, kind: Kind) -> io::Result<()> {
        let mut keys = Keys::clone(&self.keys.load());
        let key = match kind {
            Kind::Inference => &mut keys.inference,
            Kind::Management => &mut keys.management,
        };
        *key = Key::new(self.lifetime);
        key_file::write(&self.file, &keys)?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }
}

impl Key {
    fn new(lifetime: Duration) -> Self {
        let text = random_key();
        let expires = SystemTime::now() + lifetime;
        Self { text, expires }
    }

    fn fits(&self, token: &[u8], now: SystemTime) -> Choice {
        token.ct_eq(self.text.as_bytes()) & Choice::from(u8::from(now < self.expires))
    }
}

// Keys must not reach a log by way of `{:?}`.
impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Why the keys could not be handed out.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: cannot be written: {source}; hint: the keys of token authorization go there; start in a \
     folder that can be written, name tokens in TSERVE_INFERENCE_TOKEN and \
     TSERVE_MANAGEMENT_TOKEN, or switch it off with --disable-token-auth",
    file.display()
)]
pub struct KeyFileError {
    file: PathBuf,
    source: io::Error,
}

/// The token of `Bearer <token>`. The word is case-sensitive and one or more spaces may follow, as
/// in the original.
fn bearer(authorization: Option<&[u8]>) -> Option<&[u8]> {
    let rest = authorization?.strip_prefix(b"Bearer ")?;
    let start = rest.iter().position(|&byte| byte != b' ')?;
    Some(&rest[start..])
}

fn is_fixed(fixed: Option<&Secret>, token: &[u8]) -> Choice {
    fixed.map_or(Choice::from(0), |secret| token.ct_eq(secret.reveal()))
}

fn random_key() -> String {
    // The first bytes of a random UUID come from the system's generator; the fixed bits come later.
    URL_SAFE_NO_PAD.encode(&Uuid::new_v4().as_bytes()[..KEY_BYTES])
}

fn refused(what: &str) -> Error {
    Error::InvalidKey(format!(
        "Token {what} failed. Token either incorrect, expired, or not provided correctly"
    ))
}

#[cfg(test)]
mod tests;
