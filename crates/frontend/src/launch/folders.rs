//! Temporary folders, found as the original finds them.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// Folder of the pid file: the first usable one of `TMPDIR`, `TEMP`, `TMP` and the customary ones.
///
/// # Source
/// Python's `tempfile.gettempdir`, which the original's command line calls.
pub(super) fn pid_folder(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let named = ["TMPDIR", "TEMP", "TMP"]
        .into_iter()
        .filter_map(environment);
    let customary = ["/tmp", "/var/tmp", "/usr/tmp"].map(str::to_owned);
    named
        .filter(|it| !it.is_empty())
        .chain(customary)
        .map(PathBuf::from)
        .find(|folder| is_usable(folder))
        .and_then(|folder| std::path::absolute(folder).ok())
        .unwrap_or_else(|| PathBuf::from("."))
}

/// Folder of unpacked models: `TEMP` as the original has it, else that of the pid file.
///
/// # Errors
/// `TEMP` is set to something that is no folder.
pub(super) fn runtime_folder(
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<PathBuf, String> {
    match environment("TEMP").filter(|it| !it.is_empty()) {
        Some(folder) if !Path::new(&folder).is_dir() => Err(format!(
            "Invalid temp directory: {folder}, please check TEMP environment variable."
        )),
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Ok(pid_folder(environment)),
    }
}

fn is_usable(folder: &Path) -> bool {
    folder.is_dir() && rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let only = |name: &'static str| {
            move |asked: &str| match asked {
                "TMPDIR" if name != "TMPDIR" => Some("/no/such/folder".to_owned()),
                _ if asked == name => Some(path.to_owned()),
                _ => None,
            }
        };
        for name in ["TMPDIR", "TEMP", "TMP"] {
            assert_eq!(pid_folder(&only(name)), folder.path(), "{name}");
        }
        assert_eq!(pid_folder(&|_| None), Path::new("/tmp"));
    }

    #[test]
    fn a_wrong_temp_is_refused() {
        let refused = runtime_folder(&|name| (name == "TEMP").then(|| "/no/such".to_owned()));
        assert_eq!(
            refused.unwrap_err(),
            "Invalid temp directory: /no/such, please check TEMP environment variable."
        );
    }
}
