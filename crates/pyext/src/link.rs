//! `Link`: receiving batches.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tserve_shm::{
    ReceiveError, Submission, WorkerLink, adopt_fd, duplicate_fd, watch_process, watch_server,
};

use crate::{
    batch::Batch,
    errors::{open_failed, receive_failed},
    values::Decoder,
};

/// How long a wait goes on before pending signals are looked for once more: one may arrive between
/// the last look and the wait, and then interrupts nothing.
pub(crate) const SIGNAL_CHECK: Duration = Duration::from_secs(1);

/// A worker's end of the link to its server.
#[pyclass(frozen, module = "tserve_worker._native")]
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<WorkerLink>,
    decoder: Decoder,
    /// Makes the values of tensors, for handlers that want them typed.
    tensor_reader: OnceLock<Py<PyAny>>,
}

#[pymethods]
impl Link {
    #[new]
    fn new(
        py: Python<'_>,
        link_fd: i32,
        arena_fd: i32,
        wake_fd: i32,
        control_fd: i32,
        decode: bool,
    ) -> PyResult<Self> {
        // The control descriptor first: if it is bad, nothing has been taken over yet.
        let control = duplicate_fd(control_fd)?;
        let (link, arena, wake) = (adopt_fd(link_fd)?, adopt_fd(arena_fd)?, adopt_fd(wake_fd)?);
        let link = Arc::new(WorkerLink::open(link, arena, wake).map_err(open_failed)?);
        let decoder = Decoder::new(py, decode)?;
        let watched = Arc::clone(&link);
        watch_server(control, move || watched.is_closed())?;
        Ok(Self {
            shared: link,
            decoder,
            tensor_reader: OnceLock::new(),
        })
    }

    /// Name what makes the values of tensors from now on.
    fn set_tensor_reader(&self, reader: Py<PyAny>) -> PyResult<()> {
        self.tensor_reader
            .set(reader)
            .map_err(|_| PyRuntimeError::new_err("the tensor reader was set already"))
    }

    /// Wait for the next batch; None when the server has closed the link.
    fn recv(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        // Under load a batch is there already: then keep the interpreter.
        let submission = match self.shared.receive(Some(Duration::ZERO)) {
            Err(ReceiveError::TimedOut | ReceiveError::Interrupted) => self.wait(py),
            other => other.map_err(receive_failed_unless_closed),
        };
        match submission {
            Ok(submission) => {
                let reader = self.tensor_reader.get().map(|reader| reader.bind(py));
                Batch::new(py, &self.shared, &self.decoder, reader, &submission).map(Some)
            }
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// End this process when that rank of its group ends, unless the server has closed the link.
    fn watch_rank(&self, pid: i32, rank: u32) -> PyResult<()> {
        let watched = Arc::clone(&self.shared);
        watch_process(pid, format!("rank {rank}"), move || watched.is_closed())?;
        Ok(())
    }

    /// Whether the server has closed the link.
    #[getter]
    fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

/// End this process when the other end of a stream socket is closed.
#[pyfunction]
pub(crate) fn end_with(control_fd: i32) -> PyResult<()> {
    watch_server(duplicate_fd(control_fd)?, || false)?;
    Ok(())
}

impl Link {
    fn wait(&self, py: Python<'_>) -> Result<Submission, Option<PyErr>> {
        loop {
            py.check_signals()?;
            match py.detach(|| self.shared.receive(Some(SIGNAL_CHECK))) {
                Err(ReceiveError::TimedOut | ReceiveError::Interrupted) => {}
                other => return other.map_err(receive_failed_unless_closed),
            }
        }
    }
}

/// `None` for the orderly end of the link.
fn receive_failed_unless_closed(error: ReceiveError) -> Option<PyErr> {
    (error != ReceiveError::Closed).then(|| receive_failed(error))
}
