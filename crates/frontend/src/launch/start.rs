//! Starting: the checks that come first, and the background start.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folders;
use super::pid_file::PidFile;
use crate::cli::Flags;
use crate::config::{self, Config, ConfigError, Loaded, Override, Sources, StartupModels};

/// How to do without a snapshot that nobody named.
const WITHOUT: &str = "hint: --no-config-snapshots starts without it";

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
    let (loaded, newest) = read(flags, environment, is_server)?;
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
    if let StartupModels::Restored(snapshot) = &config.startup_models
        && let Some(text) = snapshot.missing_archive(store)
    {
        return Err(Refusal::Check(text));
    }
    let mut warnings = loaded.warnings;
    if let Some(newest) = &newest {
        warnings.insert(0, restored(newest));
    }
    if !flags.no_config_snapshots {
        config.snapshot_folder = Some(snapshot_folder(environment));
    }
    config.temp_dir = temp_dir;
    config.log_config = flags.log_config.as_ref().map(Into::into);
    Ok(Prepared {
        config,
        warnings,
        pid_file: None,
    })
}

/// The configuration, and the snapshot that it comes from when nobody named a file.
pub(super) fn read(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<String>,
    is_server: bool,
) -> Result<(Loaded, Option<PathBuf>), Refusal> {
    let named = environment("TS_CONFIG_FILE").filter(|it| !it.is_empty());
    let file = named.as_ref().or(flags.ts_config.as_ref());
    if let Some(file) = file {
        must_be_file("--ts-config", file)?;
    }
    let newest = if file.is_none() && !flags.no_config_snapshots {
        config::newest_snapshot(&snapshot_folder(environment))
    } else {
        None
    };
    let loaded = config::load(&Sources {
        file: file.map(Path::new).or(newest.as_deref()),
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
    .map_err(|error| match &newest {
        // Nobody named this file: say how to do without it.
        Some(_) => Refusal::Config(ConfigError::Conflict(format!("{error}; {WITHOUT}"))),
        None => Refusal::Config(error),
    })?;
    if let Some(newest) = &newest
        && !loaded.is_snapshot
    {
        return Err(Refusal::Config(ConfigError::Conflict(format!(
            "{}: is not a snapshot: it has no model_snapshot; {WITHOUT}",
            newest.display()
        ))));
    }
    Ok((loaded, newest))
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

/// Where snapshots are written and looked for.
fn snapshot_folder(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let logs = environment("LOG_LOCATION").filter(|it| !it.is_empty());
    Path::new(logs.as_deref().unwrap_or("logs")).join("config")
}

/// What to say about a start that continues where an earlier server ended.
fn restored(snapshot: &Path) -> String {
    let unread = if Path::new("config.properties").is_file() {
        ", ./config.properties is not read"
    } else {
        ""
    };
    format!(
        "no config file is named: settings come from the snapshot {}{unread}; flags of the command \
         line go first; {WITHOUT}",
        snapshot.display()
    )
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
            "--json-logs",
            "log_format",
            flags.json_logs.then(|| "json".to_owned()),
        ),
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
    fn the_newest_snapshot_stands_in_for_a_config_file() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().display().to_string();
        let environment = |name: &str| (name == "LOG_LOCATION").then(|| logs.clone());
        let snapshots = folder.path().join("config");
        std::fs::create_dir(&snapshots).unwrap();
        std::fs::write(snapshots.join("notes.txt"), "nonsense").unwrap();
        std::fs::write(
            snapshots.join("20250307140509123-startup.cfg"),
            "job_queue_size=7\ndisable_token_authorization=true\nload_models=x.mar\n\
             model_snapshot={\"models\"\\:{\"toy\"\\:{\"1.0\"\\:{\"marName\"\\:\"toy.mar\"}}}}\n",
        )
        .unwrap();
        let flags = Flags {
            model_store: Some(logs.clone()),
            ..Flags::default()
        };
        assert_eq!(
            refusal(&flags, &environment),
            "Model archive file for model :toy, version :1.0 not found in model store"
        );
        std::fs::write(folder.path().join("toy.mar"), "").unwrap();
        let prepared = prepare(&flags, &environment, false).unwrap();
        assert_eq!(prepared.config.job_queue_size, 7);
        assert!(matches!(
            prepared.config.startup_models,
            StartupModels::Restored(_)
        ));
        assert_eq!(prepared.config.snapshot_folder, Some(snapshots));
        assert!(prepared.warnings[0].contains("20250307140509123-startup.cfg"));

        let other_models = Flags {
            models: Some(vec!["other.mar".into()]),
            ..flags.clone()
        };
        let prepared = prepare(&other_models, &environment, false).unwrap();
        assert!(matches!(
            prepared.config.startup_models,
            StartupModels::List(_)
        ));
        assert_eq!(prepared.config.job_queue_size, 7);
        assert!(
            prepared
                .warnings
                .iter()
                .any(|it| it.contains("--models says"))
        );

        let without = Flags {
            no_config_snapshots: true,
            ..flags
        };
        let prepared = prepare(&without, &environment, false).unwrap();
        assert_eq!(prepared.config.job_queue_size, 100);
        assert_eq!(prepared.config.snapshot_folder, None);
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
