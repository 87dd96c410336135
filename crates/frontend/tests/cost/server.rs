//! Starts and stops one server in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// A server process with two models, `noop` and `batched`, of one worker each.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// What it prints after it was ready.
    pub(crate) output: BufReader<std::process::ChildStdout>,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts `command`, to which the flags of a server are added, and waits until it is ready.
    ///
    /// # Errors
    /// What it printed, when it ends before that.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = prepare(folder.path());
        let mut child = command
            .args(["--start", "--foreground", "--ncs", "--disable-token-auth"])
            .args(["--models", "noop", "batched", "--model-store"])
            .arg(folder.path().join("store"))
            .arg("--ts-config")
            .arg(folder.path().join("config.properties"))
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .env("TEMP", folder.path())
            .env("LOG_LOCATION", folder.path().join("logs"))
            .env("METRICS_LOCATION", folder.path().join("logs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?} cannot be started: {error}"))?;
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut seen = String::new();
        while !seen.ends_with("Model server started.\n") {
            if output.read_line(&mut seen).expect("text") == 0 {
                let status = child.wait().expect("a child");
                return Err(format!("{command:?} ended with {status}: {seen}"));
            }
        }
        Ok(Self {
            child,
            output,
            port,
            _folder: folder,
        })
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        // What it still says must not make it wait.
        std::io::copy(&mut self.output, &mut std::io::sink()).expect("its output");
        self.child.wait().expect("a child")
    }
}

/// Writes store and configuration; returns the port.
fn prepare(folder: &Path) -> u16 {
    for (model, more) in [
        ("noop", ""),
        ("batched", "batchSize: 8\nmaxBatchDelay: 10000\n"),
    ] {
        let inside = folder.join("store").join(model);
        std::fs::create_dir_all(inside.join("MAR-INF")).expect("a writable folder");
        let manifest = format!(
            "{{\"runtime\":\"python\",\"model\":{{\"modelName\":\"{model}\",\"modelVersion\":\"1.0\",\
             \"handler\":\"none\",\"configFile\":\"model.yaml\"}}}}"
        );
        std::fs::write(inside.join("MAR-INF/MANIFEST.json"), manifest).expect("a writable folder");
        let settings = format!("minWorkers: 1\nmaxWorkers: 1\n{more}");
        std::fs::write(inside.join("model.yaml"), settings).expect("a writable folder");
    }
    let worker = std::env::current_exe().expect("this program has a path");
    let ports = free_ports();
    let [inference, management, metrics] = ports;
    let config = format!(
        "inference_address=http://127.0.0.1:{inference}\n\
         management_address=http://127.0.0.1:{management}\n\
         metrics_address=http://127.0.0.1:{metrics}\n\
         grpc_inference_port=0\ngrpc_management_port=0\nnumber_of_netty_threads=1\n\
         python={}\n",
        worker.display()
    );
    std::fs::write(folder.join("config.properties"), config).expect("a writable folder");
    inference
}

/// Ports that nobody uses at this moment.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket").port())
}
