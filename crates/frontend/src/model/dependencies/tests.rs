//! Installations by an interpreter that does what the requirements file says.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::model::archive::{UnpackLimits, unpack};
use crate::model::store::{ArchiveRequest, Asker, ModelStore};

const FAKE_PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fake-python");
const PLENTY: Duration = Duration::from_secs(30);

struct Bench {
    folder: TempDir,
    archive: UnpackedArchive,
}

impl Bench {
    /// A model directory whose requirements file is `script`.
    async fn new(manifest: &str, script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let source = folder.path().join("m");
        fs::create_dir_all(source.join("MAR-INF")).unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::write(source.join("MAR-INF/MANIFEST.json"), manifest).unwrap();
        fs::write(source.join("reqs.txt"), script).unwrap();
        let root = Some(folder.path().to_owned());
        let store = ModelStore::new(root, &[], Config::default().downloads);
        let located = store
            .locate(&ArchiveRequest::new("m", Asker::Client))
            .await
            .unwrap();
        let models = folder.path().join("models");
        let archive = unpack(&located, &models, &UnpackLimits::default()).unwrap();
        Self { folder, archive }
    }

    async fn with_script(script: &str) -> Self {
        Self::new(r#"{"model": {"requirementsFile": "reqs.txt"}}"#, script).await
    }

    async fn install(&self, timeout: Duration) -> Result<(), Error> {
        self.install_with(FAKE_PYTHON.as_ref(), timeout).await
    }

    async fn install_with(&self, python: &Path, timeout: Duration) -> Result<(), Error> {
        let prepared = self.prepare(python, timeout, false).await;
        prepared.map(|venv| assert!(venv.is_none()))
    }

    async fn prepare(
        &self,
        python: &Path,
        timeout: Duration,
        venv: bool,
    ) -> Result<Option<Venv>, Error> {
        let variables: Vec<_> = std::env::vars_os().collect();
        let tools = Tools {
            python,
            variables: &variables,
            wheels: None,
            timeout,
        };
        let wanted = Needs {
            packages: true,
            venv,
        };
        let venvs = Venvs::new(self.file("venvs"), 0);
        prepare("m", &self.archive, wanted, &tools, &venvs).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Polls until the process is gone.
async fn assert_dies(pid: &str) {
    let entry = PathBuf::from("/proc").join(pid.trim()).join("stat");
    for _ in 0..500 {
        match fs::read_to_string(&entry) {
            // A zombie waits only for its parent.
            Ok(stat) if !stat.contains(") Z ") => {}
            _ => return,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} still runs");
}

async fn read_when_written(path: &Path) -> String {
    for _ in 0..1000 {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{} was not written", path.display());
}

#[tokio::test]
async fn packages_go_to_the_private_folder_and_paths_start_at_the_model() {
    let bench = Bench::with_script("test -f ./reqs.txt && echo 1 > \"$TARGET/package.py\"").await;
    bench.install(PLENTY).await.unwrap();
    let folder = bench.archive.link_parent().unwrap();
    assert!(folder.join("package.py").is_file());
    assert!(!bench.file("m/package.py").exists());
}

#[tokio::test]
async fn an_archive_without_requirements_needs_no_interpreter() {
    let bench = Bench::new(r#"{"model": {}}"#, "exit 1").await;
    bench.install(PLENTY).await.unwrap();
}

#[tokio::test]
async fn a_failure_has_the_text_clients_know_and_the_reason() {
    let text = |installed: Result<(), Error>| installed.unwrap_err().to_string();
    let known = "Custom pip package installation failed for model m: ";
    let bench = Bench::with_script("echo 'ERROR: No matching distribution' >&2; exit 1").await;
    let failed = text(bench.install(PLENTY).await);
    assert_eq!(failed, format!("{known}No matching distribution"));
    let missing = text(
        bench
            .install_with(Path::new("/no/such/python"), PLENTY)
            .await,
    );
    assert_eq!(
        missing,
        format!("{known}No such file or directory (os error 2)")
    );
    let outside = r#"{"model": {"requirementsFile": "../reqs.txt"}}"#;
    let failed = text(Bench::new(outside, "").await.install(PLENTY).await);
    assert!(
        failed.starts_with(&format!("{known}the manifest names")),
        "{failed}"
    );
    let quiet = Bench::with_script("exit 3").await;
    let failed = text(quiet.install(PLENTY).await);
    assert_eq!(failed, format!("{known}exit status: 3"));
}

#[tokio::test]
async fn only_the_end_of_much_output_is_kept() {
    let bench = Bench::with_script(
        "head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo 'ERROR: the last words' >&2; exit 1",
    )
    .await;
    let failed = bench.install(PLENTY).await.unwrap_err().to_string();
    assert!(failed.ends_with(": the last words"), "{failed}");
}

#[tokio::test]
async fn a_virtual_environment_is_made_once_and_removed_after_use() {
    let bench = Bench::with_script("echo installed >> installed").await;
    let make = || bench.prepare(FAKE_PYTHON.as_ref(), PLENTY, true);
    let (first, second) = (make().await.unwrap(), make().await.unwrap());
    let python = first.as_ref().unwrap().python().to_owned();
    assert_eq!(python, second.as_ref().unwrap().python());
    assert!(python.is_file());
    let log = fs::read_to_string(bench.file("m/installed")).unwrap();
    assert_eq!(log, "installed\n");
    drop((first, second));
    assert!(!python.exists());
}

#[tokio::test]
async fn a_virtual_environment_that_cannot_be_filled_leaves_nothing() {
    let bench = Bench::with_script("echo 'ERROR: no' >&2; exit 1").await;
    let failed = bench.prepare(FAKE_PYTHON.as_ref(), PLENTY, true).await;
    let text = failed.unwrap_err().to_string();
    assert!(
        text.starts_with("Custom pip package installation failed for model m: no"),
        "{text}"
    );
    assert_eq!(fs::read_dir(bench.file("venvs")).unwrap().count(), 0);
    let failed = bench.prepare(Path::new("/bin/false"), PLENTY, true).await;
    let text = failed.unwrap_err().to_string();
    assert!(
        text.starts_with("Virtual environment creation failed for model m: "),
        "{text}"
    );
}

#[tokio::test]
async fn an_installation_that_takes_too_long_is_killed_with_its_children() {
    let script = "sleep 1000 & echo $! > ../child; wait";
    let bench = Bench::with_script(script).await;
    let started = Instant::now();
    let install = bench.install(Duration::from_secs(2));
    let (result, child) = tokio::join!(install, async {
        read_when_written(&bench.file("child")).await
    });
    assert!(result.is_err());
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_dies(&child).await;
}

#[tokio::test]
async fn an_installation_that_nobody_waits_for_is_killed_with_its_children() {
    let script = "sleep 1000 & echo $! > ../child; wait";
    let bench = Bench::with_script(script).await;
    let child = {
        let install = bench.install(PLENTY);
        tokio::pin!(install);
        tokio::select! {
            _ = &mut install => panic!("it should still run"),
            child = async { read_when_written(&bench.file("child")).await } => child,
        }
    };
    assert_dies(&child).await;
}

#[tokio::test]
async fn a_process_that_pip_leaves_behind_does_not_hold_us_up() {
    let bench = Bench::with_script("sleep 20 & exit 0").await;
    let started = Instant::now();
    bench.install(PLENTY).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15));
}
