//! Starting: the checks that come first, and the background start.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::folders;
use super::pid_file::PidFile;
use crate::cli::Flags;
use crate::config::{self, Config, ConfigError, Override, Sources};

/// Everything that a server needs to begin.
#[derive(Debug)]
pub struct Prepared {
    /// The effective configuration.
    pub config: Config,
    /// What the operator should know, for the server log.
    pub warnings: Vec<String>,
    pid_file: Option<PidFile>,
}

/// Why there will be no server.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A check of the original, with its text.
    Check(String),
    /// A mistake in the configuration.
    Config(ConfigError),
}

impl Prepared {
    /// Makes this process the one that the pid file names, until it is dropped.
    pub(super) fn with_pid_file(mut self, pid_file: PidFile) -> Self {
        self.pid_file = Some(pid_file);
        self
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(pid_file) = &self.pid_file {
            pid_file.remove_if(std::process::id());
        }
    }
}

/// Checks flags, environment and configuration. A process that only starts another one leaves
/// counting GPUs, which can take seconds, to that one.
pub(super) fn prepare(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<String>,
    is_server: bool,
) -> Result<Prepared, Refusal> {
    if let Some(file) = &flags.log_config {
        must_be_file("--log-config", &real_path(file))?;
    }
    let temp_dir = folders::runtime_folder(environment).map_err(Refusal::Check)?;
    let named = environment("TS_CONFIG_FILE").filter(|it| !it.is_empty());
    let file = named.as_ref().or(flags.ts_config.as_ref());
    if let Some(file) = file {
        must_be_file("--ts-config", file)?;
    }
    let loaded = config::load(&Sources {
        file: file.map(Path::new),
        flags: &overrides(flags),
        environment,
        count_gpus: &|| {
            if is_server {
                config::count_gpus(environment)
            } else {
                0
            }
        },
    })
    .map_err(Refusal::Config)?;
    let mut config = loaded.config;
    let Some(store) = &config.model_store else {
        let text = "Missing mandatory parameter --model-store".to_owned();
        return Err(Refusal::Check(text));
    };
    must_be_folder("--model-store", store)?;
    if let Some(folder) = &flags.workflow_store {
        must_be_folder("--workflow-store", Path::new(folder))?;
    }
    if let Some(file) = &flags.cpp_log_config {
        must_be_file("--cpp-log-config", &real_path(file))?;
    }
    let mut warnings = loaded.warnings;
    if file.is_none() && !flags.no_config_snapshots {
        warnings.extend(unread_snapshots(&config.log_location));
    }
    config.temp_dir = temp_dir;
    config.log_config = flags.log_config.as_ref().map(Into::into);
    Ok(Prepared {
        config,
        warnings,
        pid_file: None,
    })
}

/// Starts the server in a session of its own and leaves at once; returns the exit code.
pub(super) fn in_background(pid_file: &PidFile, err: &mut dyn Write) -> io::Result<u8> {
    let spawned = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg("background")
            .args(std::env::args_os().skip(1))
            .stdin(Stdio::null())
            .spawn()
    });
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            writeln!(err, "the server cannot be started: {error}")?;
            return Ok(1);
        }
    };
    // The server writes the file too; this makes a --stop right after this command find it.
    if let Err(error) = pid_file.write(child.id()) {
        writeln!(err, "{pid_file}: cannot be written: {error}")?;
        child.kill().ok();
        child.wait().ok();
        return Ok(1);
    }
    // A server that has ended removed its file, perhaps before this one was written.
    if child.try_wait()?.is_some() {
        pid_file.remove_if(child.id());
        return Ok(1);
    }
    Ok(0)
}

/// What to say about snapshots that the original would have restored.
fn unread_snapshots(logs: &Path) -> Option<String> {
    let folder = logs.join("config");
    let is_snapshot = |name: &std::ffi::OsStr| Path::new(name).extension() == Some("cfg".as_ref());
    let mut names = std::fs::read_dir(&folder).ok()?.flatten();
    names.any(|entry| is_snapshot(&entry.file_name())).then(|| {
        format!(
            "the snapshots in {} are not restored: not built yet: snapshots; say that this is \
             wanted with --no-config-snapshots",
            folder.display()
        )
    })
}

/// What the flags set, as keys.
fn overrides(flags: &Flags) -> Vec<Override> {
    let switch = |is_on: bool| is_on.then(|| "true".to_owned());
    let models = flags.models.as_ref().map(|models| models.join(","));
    [
        ("--model-store", "model_store", flags.model_store.clone()),
        (
            "--workflow-store",
            "workflow_store",
            flags.workflow_store.clone(),
        ),
        ("--models", "load_models", models),
        (
            "--cpp-log-config",
            "cpp_log_config",
            flags.cpp_log_config.clone(),
        ),
        ("--plugins-path", "plugins_path", flags.plugins_path.clone()),
        (
            "--disable-token-auth",
            "disable_token_authorization",
            switch(flags.disable_token_auth),
        ),
        (
            "--enable-model-api",
            "enable_model_api",
            switch(flags.enable_model_api),
        ),
    ]
    .into_iter()
    .filter_map(|(flag, key, value)| value.map(|value| Override { flag, key, value }))
    .collect()
}

fn must_be_file(flag: &str, path: &str) -> Result<(), Refusal> {
    if Path::new(path).is_file() {
        return Ok(());
    }
    Err(Refusal::Check(format!("{flag} file not found: {path}")))
}

fn must_be_folder(flag: &str, path: &Path) -> Result<(), Refusal> {
    if path.is_dir() {
        return Ok(());
    }
    let path = path.display();
    Err(Refusal::Check(format!(
        "{flag} directory not found: {path}"
    )))
}

/// The absolute path without links as far as it exists.
fn real_path(path: &str) -> String {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_or_else(|_| path.to_owned(), |it| it.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> String {
        match prepare(flags, environment, false) {
            Err(Refusal::Check(text)) => text,
            Err(Refusal::Config(error)) => panic!("{error}"),
            Ok(prepared) => panic!("{prepared:?}"),
        }
    }

    #[test]
    fn each_check_has_the_text_of_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let store = Some(folder.path().display().to_string());
        let none = |_: &str| None;
        assert_eq!(
            refusal(&Flags::default(), &none),
            "Missing mandatory parameter --model-store"
        );
        let flags = Flags {
            model_store: Some("/no/store".into()),
            ..Flags::default()
        };
        assert_eq!(
            refusal(&flags, &none),
            "--model-store directory not found: /no/store"
        );
        let flags = Flags {
            ts_config: Some("/no/c".into()),
            ..Flags::default()
        };
        assert_eq!(refusal(&flags, &none), "--ts-config file not found: /no/c");
        let variable = |name: &str| (name == "TS_CONFIG_FILE").then(|| "/no/v".to_owned());
        assert_eq!(
            refusal(&flags, &variable),
            "--ts-config file not found: /no/v"
        );
        let flags = Flags {
            log_config: Some("/no/l".into()),
            ..Flags::default()
        };
        assert_eq!(refusal(&flags, &none), "--log-config file not found: /no/l");
        let flags = Flags {
            model_store: store.clone(),
            workflow_store: Some("/no/w".into()),
            ..Flags::default()
        };
        assert_eq!(
            refusal(&flags, &none),
            "--workflow-store directory not found: /no/w"
        );
        let flags = Flags {
            model_store: store,
            cpp_log_config: Some("/no/p".into()),
            ..Flags::default()
        };
        assert_eq!(
            refusal(&flags, &none),
            "--cpp-log-config file not found: /no/p"
        );
    }

    #[test]
    fn snapshots_that_are_not_restored_are_mentioned() {
        let logs = tempfile::tempdir().unwrap();
        assert_eq!(unread_snapshots(logs.path()), None);
        std::fs::create_dir(logs.path().join("config")).unwrap();
        assert_eq!(unread_snapshots(logs.path()), None);
        std::fs::write(logs.path().join("config/20250307-startup.cfg"), "").unwrap();
        assert!(
            unread_snapshots(logs.path())
                .unwrap()
                .contains("are not restored")
        );
    }

    #[test]
    fn flags_become_keys() {
        let flags = Flags {
            models: Some(vec!["a=a.mar".into(), "b.mar".into()]),
            enable_model_api: true,
            ..Flags::default()
        };
        let set: Vec<_> = overrides(&flags)
            .into_iter()
            .map(|it| (it.key, it.value))
            .collect();
        assert_eq!(
            set,
            [
                ("load_models", "a=a.mar,b.mar".to_owned()),
                ("enable_model_api", "true".to_owned()),
            ]
        );
    }
}
