//! One address of the configuration, for a client that needs nothing else of it.

use std::path::Path;

use super::{ConfigError, file};
use crate::config::Address;
use crate::config::draft::Draft;
use crate::config::keys;

/// The address that a text means as the value of this key.
///
/// # Errors
/// What is wrong with the text.
pub fn read_address(key: &str, text: &str) -> Result<Address, String> {
    let mut draft = Draft::with_defaults();
    if let Some(known) = keys::find(key) {
        (known.apply)(&mut draft, text)?;
    }
    Ok(of(key, draft))
}

/// The address that a config file, or a snapshot, gives this key; `None` where it does not.
///
/// # Errors
/// A file that cannot be read, or a text in it that is no address.
pub fn address_in_file(
    key: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Address>, ConfigError> {
    let mut draft = Draft::with_defaults();
    let mut is_there = false;
    for entry in file::read(path, environment, &mut Vec::new())? {
        if entry.key.name == key {
            is_there = true;
            (entry.key.apply)(&mut draft, &entry.value).map_err(|problem| ConfigError::Value {
                place: format!("{}:{}", path.display(), entry.line),
                key: entry.key.name,
                value: super::shortened(&entry.value),
                problem,
            })?;
        }
    }
    Ok(is_there.then(|| of(key, draft)))
}

/// The address that a server has for which none is configured.
pub fn default_address(key: &str) -> Address {
    of(key, Draft::with_defaults())
}

fn of(key: &str, draft: Draft) -> Address {
    if key == "inference_address" {
        draft.config.inference_address
    } else {
        draft.config.management_address
    }
}
