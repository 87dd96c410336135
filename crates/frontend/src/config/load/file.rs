//! Reads a file of Java properties: known keys with their lines, `$$NAME$$` filled in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use java_properties::{LineContent, PropertiesIter};
use regex::Regex;

use super::ConfigError;
use crate::config::keys::{self, Key};

/// A known key as the file sets it.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: &'static Key,
    pub value: String,
    /// 1-based; of the first line where the value spans several.
    pub line: usize,
}

/// A reference to an environment variable inside a value.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\$([^$]{2,})\$\$").expect("the pattern is constant"));

/// The known keys of a file in the order of their last appearance; of a key that is there twice the
/// last one counts. Unknown and repeated keys are described in `warnings`.
pub(super) fn read(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Entry>, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    // Java reads Latin-1; files written today are UTF-8, and ASCII is both.
    let encoding = if std::str::from_utf8(&bytes).is_ok() {
        encoding_rs::UTF_8
    } else {
        encoding_rs::WINDOWS_1252
    };
    let shown = path.display();
    let mut entries: Vec<Entry> = Vec::new();
    let mut lines: HashMap<&'static str, usize> = HashMap::new();
    for line in PropertiesIter::new_with_encoding(bytes.as_slice(), encoding) {
        let line = line.map_err(|error| ConfigError::Syntax {
            place: error
                .line_number()
                .map_or_else(|| shown.to_string(), |number| format!("{shown}:{number}")),
            problem: "is not in the format of Java properties: a \\u needs four hexadecimal digits"
                .to_owned(),
        })?;
        let number = line.line_number();
        let LineContent::KVPair(name, value) = line.consume_content() else {
            continue;
        };
        let Some(key) = keys::find(&name) else {
            let hint = keys::nearest(&name)
                .map(|nearest| format!("; did you mean {nearest}?"))
                .unwrap_or_default();
            warnings.push(format!("{shown}:{number}: unknown key {name}{hint}"));
            continue;
        };
        if let Some(earlier) = lines.insert(key.name, number) {
            warnings.push(format!(
                "{shown}:{number}: {name} is there twice; this line counts, not line {earlier}"
            ));
            entries.retain(|entry| entry.key.name != key.name);
        }
        let value = fill_in(&value, environment).map_err(|variable| ConfigError::Variable {
            place: format!("{shown}:{number}"),
            key: name,
            variable,
        })?;
        entries.push(Entry {
            key,
            value,
            line: number,
        });
    }
    Ok(entries)
}

/// Replaces each `$$NAME$$`, or returns the name that is not set.
fn fill_in(value: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(value.len());
    let mut done = 0;
    for reference in REFERENCE.captures_iter(value) {
        let (whole, [name]) = (reference.get_match(), reference.extract::<1>().1);
        filled.push_str(&value[done..whole.start()]);
        filled.push_str(&environment(name).ok_or_else(|| name.to_owned())?);
        done = whole.end();
    }
    filled.push_str(&value[done..]);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOST").then(|| "127.0.0.1".to_owned())
    }

    #[test]
    fn references_are_filled_in() {
        assert_eq!(
            fill_in("http://$$HOST$$:80$$HOST$$", &environment).as_deref(),
            Ok("http://127.0.0.1:80127.0.0.1")
        );
        assert_eq!(
            fill_in("$$ $ $$X$$", &environment).as_deref(),
            Ok("$$ $ $$X$$")
        );
        assert_eq!(fill_in("$$NONE$$", &environment), Err("NONE".to_owned()));
    }
}
