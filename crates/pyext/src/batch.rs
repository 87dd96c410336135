//! `Batch`: the requests of one batch as handlers expect them, and the way back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    intern,
    prelude::*,
    types::{PyDict, PyList, PyString},
};
use tserve_shm::{
    ReplyError, ReplyItemRef, ReplyRef, ReplyTimes, Submission, WorkerLink, monotonic_ns,
    wire::{RequestView, ValueRef},
};

use crate::{
    errors::{malformed, reply_failed},
    link::SIGNAL_CHECK,
    payload::Answer,
    values::Decoder,
};

/// Replies up to this size are copied without letting other threads at the interpreter: getting it
/// back may cost a whole switch interval of 5 ms.
const ATTACHED_COPY_BYTES: usize = 1 << 20;

/// How the content type of a tensor begins: datatype and shape follow, which no client can send, as
/// the server cuts what follows a semicolon off.
const TENSOR_TYPE: &str = "application/vnd.tserve.tensor;";

/// Requests that the server submitted together.
#[pyclass(frozen, module = "tserve_worker._native")]
#[derive(Debug)]
pub(crate) struct Batch {
    link: Arc<WorkerLink>,
    submission_id: u64,
    size: usize,
    is_answered: AtomicBool,
    /// Request ids by index.
    #[pyo3(get)]
    ids: Py<PyDict>,
    /// One dict of headers per request.
    #[pyo3(get)]
    headers: Py<PyList>,
    /// One dict of inputs per request; empty once taken.
    data: Mutex<Option<Py<PyList>>>,
    /// What reads tensors, and what it lent of the arena for this batch.
    loans: Option<(Py<PyAny>, Py<PyList>)>,
    clock: HandlerClock,
}

/// When the handler ran; nanoseconds, zero is not yet.
#[derive(Debug, Default)]
struct HandlerClock {
    taken_at: u64,
    started_at: AtomicU64,
    ended_at: AtomicU64,
    steps: [AtomicU64; 3],
}

impl HandlerClock {
    /// What it says now; a handler that has not ended has run until now.
    fn times(&self) -> ReplyTimes {
        let end = match self.ended_at.load(Ordering::Relaxed) {
            0 => monotonic_ns(),
            end => end,
        };
        let handler_ns = match self.started_at.load(Ordering::Relaxed) {
            0 => 0,
            start => end.saturating_sub(start),
        };
        ReplyTimes {
            taken_at_ns: self.taken_at,
            handler_ns,
            steps_ns: self.steps.each_ref().map(|it| it.load(Ordering::Relaxed)),
        }
    }
}

impl Batch {
    /// Copies a batch out of the arena.
    pub(crate) fn new(
        py: Python<'_>,
        link: &Arc<WorkerLink>,
        decoder: &Decoder,
        tensor_reader: Option<&Bound<'_, PyAny>>,
        submission: &Submission,
    ) -> PyResult<Self> {
        let clock = HandlerClock {
            taken_at: monotonic_ns(),
            ..HandlerClock::default()
        };
        let ids = PyDict::new(py);
        let headers = PyList::empty(py);
        let data = PyList::empty(py);
        let loans = tensor_reader.map(|reader| (reader, PyList::empty(py)));
        for (index, job) in submission.jobs.iter().enumerate() {
            let request = link.request(job).map_err(malformed)?;
            ids.set_item(index, request.id())?;
            headers.append(request_headers(py, &request)?)?;
            data.append(request_data(py, link, decoder, loans.as_ref(), &request)?)?;
        }
        Ok(Self {
            link: Arc::clone(link),
            submission_id: submission.batch_id,
            size: submission.jobs.len(),
            is_answered: AtomicBool::new(false),
            ids: ids.unbind(),
            headers: headers.unbind(),
            data: Mutex::new(Some(data.unbind())),
            loans: loans.map(|(reader, list)| (reader.clone().unbind(), list.unbind())),
            clock,
        })
    }
}

#[pymethods]
impl Batch {
    /// The server's number of the batch.
    #[getter]
    fn number(&self) -> u64 {
        self.submission_id
    }

    fn __len__(&self) -> usize {
        self.size
    }

    /// Hand the inputs over, so that they live no longer than the handler wants them.
    fn take_data(&self) -> PyResult<Py<PyList>> {
        self.clock
            .started_at
            .store(monotonic_ns(), Ordering::Relaxed);
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        data.take()
            .ok_or_else(|| PyRuntimeError::new_err("the inputs were taken already"))
    }

    /// Note that the handler has returned, and how long its steps took.
    #[pyo3(signature = (preprocess=0, inference=0, postprocess=0))]
    fn handled(&self, preprocess: u64, inference: u64, postprocess: u64) {
        self.clock.ended_at.store(monotonic_ns(), Ordering::Relaxed);
        let steps = [preprocess, inference, postprocess];
        for (place, step) in self.clock.steps.iter().zip(steps) {
            place.store(step, Ordering::Relaxed);
        }
    }

    /// Send the answers, or with `last=False` some of them.
    #[pyo3(signature = (code, message, items, last=true))]
    fn reply(
        &self,
        py: Python<'_>,
        code: u32,
        message: &str,
        items: Option<Vec<Bound<'_, PyAny>>>,
        last: bool,
    ) -> PyResult<()> {
        let answers: Vec<Option<Answer<'_>>> = items
            .unwrap_or_default()
            .iter()
            .map(|item| (!item.is_none()).then(|| Answer::extract(item)).transpose())
            .collect::<PyResult<_>>()?;
        if answers.len() > self.size {
            return Err(PyValueError::new_err(format!(
                "{} answers to a batch of {} requests",
                answers.len(),
                self.size
            )));
        }
        let given = (0_u32..)
            .zip(&answers)
            .filter_map(|(index, answer)| Some((index, answer.as_ref()?)));
        let headers: Vec<Vec<(&str, &str)>> = given
            .clone()
            .map(|(_, answer)| answer.header_pairs())
            .collect::<PyResult<_>>()?;
        let items: Vec<ReplyItemRef<'_>> = given
            .zip(&headers)
            .map(|((index, answer), headers)| answer.item(index, headers))
            .collect::<PyResult<_>>()?;
        self.send(py, code, message, &items, last)
    }
}

impl Batch {
    fn send(
        &self,
        py: Python<'_>,
        code: u32,
        message: &str,
        items: &[ReplyItemRef<'_>],
        last: bool,
    ) -> PyResult<()> {
        // Claimed first, so that two threads cannot both send a last reply.
        if self.is_answered.swap(last, Ordering::AcqRel) {
            self.is_answered.store(true, Ordering::Release);
            return Err(PyRuntimeError::new_err("the batch was answered already"));
        }
        let settled = if last { self.settle(py) } else { Ok(()) };
        let outcome = settled.and_then(|()| self.send_claimed(py, code, message, items, last));
        if outcome.is_err() {
            self.is_answered.store(false, Ordering::Release);
        }
        outcome
    }

    /// Makes what the handler keeps of the arena its own: the server reuses it once it has the last
    /// reply.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        if let Some((reader, loans)) = &self.loans
            && !loans.bind(py).is_empty()
        {
            reader.call_method1(py, intern!(py, "settle"), (loans,))?;
        }
        Ok(())
    }

    fn send_claimed(
        &self,
        py: Python<'_>,
        code: u32,
        message: &str,
        items: &[ReplyItemRef<'_>],
        last: bool,
    ) -> PyResult<()> {
        let frame = ReplyRef {
            batch_id: self.submission_id,
            code,
            message,
            is_last: last,
            times: self.clock.times(),
            items,
        };
        let try_for = |timeout: Duration| self.link.send(Some(timeout), &frame);
        let payload_bytes: usize = items.iter().map(|item| item.body.len()).sum();
        if payload_bytes <= ATTACHED_COPY_BYTES {
            match try_for(Duration::ZERO) {
                Err(ReplyError::TimedOut) => {}
                other => return other.map_err(reply_failed),
            }
        }
        loop {
            match py.detach(|| try_for(SIGNAL_CHECK)) {
                Err(ReplyError::TimedOut | ReplyError::Interrupted) => py.check_signals()?,
                other => return other.map_err(reply_failed),
            }
        }
    }
}

/// An entry with the content type of every input, then the headers, which win.
fn request_headers<'py>(
    py: Python<'py>,
    request: &RequestView<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let headers = PyDict::new(py);
    for input in request.inputs() {
        let entry = PyDict::new(py);
        entry.set_item(intern!(py, "content-type"), input.content_type)?;
        headers.set_item(input.name, entry)?;
    }
    for (name, value) in request.headers() {
        headers.set_item(name, value)?;
    }
    Ok(headers)
}

/// The inputs by name; of repeated ones the last.
fn request_data<'py>(
    py: Python<'py>,
    link: &WorkerLink,
    decoder: &Decoder,
    loans: Option<&(&Bound<'py, PyAny>, Bound<'py, PyList>)>,
    request: &RequestView<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let data = PyDict::new(py);
    for input in request.inputs() {
        let bytes = link.value(&input.value).map_err(malformed)?;
        let value = match (loans, &input.value) {
            (Some((reader, loans)), ValueRef::Arena { offset, len })
                if input.content_type.starts_with(TENSOR_TYPE) =>
            {
                reader.call1((input.content_type, *offset, *len, loans))?
            }
            _ => decoder.value(py, request.id(), input, bytes)?,
        };
        data.set_item(PyString::new(py, input.name), value)?;
    }
    Ok(data)
}
