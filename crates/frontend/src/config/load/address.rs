//! One address of the configuration, for a client that needs nothing else of it.

use std::path::Path;

use super::{ConfigError, FILE_IN_WORKING_FOLDER, file};
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

/// The address that the config file gives this key, else its default. The file is the one that a
/// server started here would read.
///
/// # Errors
/// A file that cannot be read, or a text in it that is no address.
pub fn address_in_file(
    key: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, ConfigError> {
    let named = environment("TS_CONFIG_FILE").filter(|name| !name.is_empty());
    let path = Path::new(named.as_deref().unwrap_or(FILE_IN_WORKING_FOLDER));
    let mut draft = Draft::with_defaults();
    if named.is_some() || path.exists() {
        for entry in file::read(path, environment, &mut Vec::new())? {
            if entry.key.name == key {
                (entry.key.apply)(&mut draft, &entry.value).map_err(|problem| {
                    ConfigError::Value {
                        place: format!("{}:{}", path.display(), entry.line),
                        key: entry.key.name,
                        value: super::shortened(&entry.value),
                        problem,
                    }
                })?;
            }
        }
    }
    Ok(of(key, draft))
}

fn of(key: &str, draft: Draft) -> Address {
    if key == "inference_address" {
        draft.config.inference_address
    } else {
        draft.config.management_address
    }
}
