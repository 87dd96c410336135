//! What went wrong lately with the workers and the handler of one model version.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tserve_shm::Reply;

use super::failure::{LastFailure, Raised};
use crate::dispatch::raised;

/// Failures of each kind that are remembered.
const REMEMBERED: usize = 20;

/// Longest traceback of which all is remembered, bytes; of longer ones the end.
const LONGEST_TRACEBACK: usize = 16 * 1024;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureOf {
    /// A worker process: it did not load, or it ended.
    Worker,
    /// The handler: it raised, and its worker went on.
    Handler,
}

/// One failure, or several in a row that were the same.
#[derive(Debug, Clone)]
pub struct RecordedFailure {
    /// What failed.
    pub of: FailureOf,
    /// The last worker that it happened to.
    pub worker: u64,
    /// How many times it happened in a row.
    pub times: u64,
    /// What happened; the time is the last one.
    pub failure: LastFailure,
}

/// The last failures. Those of workers and of the handler do not take each other's places.
#[derive(Debug, Default)]
pub struct FailureHistory {
    workers: Mutex<VecDeque<RecordedFailure>>,
    handlers: Mutex<VecDeque<RecordedFailure>>,
}

impl FailureHistory {
    /// Every failure that is remembered, the latest first.
    pub fn latest(&self) -> Vec<RecordedFailure> {
        let mut all: Vec<RecordedFailure> = [&self.workers, &self.handlers]
            .into_iter()
            .flat_map(|kind| {
                let kind = kind.lock().unwrap_or_else(PoisonError::into_inner);
                kind.iter().cloned().collect::<Vec<_>>()
            })
            .collect();
        all.sort_by_key(|recorded| std::cmp::Reverse(recorded.failure.at));
        all
    }

    pub(super) fn add(&self, of: FailureOf, worker: u64, mut failure: LastFailure) {
        if let Some(raised) = &mut failure.raised {
            keep_end(&mut raised.traceback);
        }
        let kind = match of {
            FailureOf::Worker => &self.workers,
            FailureOf::Handler => &self.handlers,
        };
        let mut kind = kind.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = kind
            .back_mut()
            .filter(|last| is_same(&last.failure, &failure))
        {
            last.times += 1;
            last.worker = worker;
            last.failure.at = failure.at;
            return;
        }
        if kind.len() >= REMEMBERED {
            kind.pop_front();
        }
        kind.push_back(RecordedFailure {
            of,
            worker,
            times: 1,
            failure,
        });
    }

    /// Remembers a batch that the handler failed.
    pub(super) fn add_reply(&self, worker: u64, reply: &Reply) {
        let Some(detail) = raised(reply) else {
            return;
        };
        let summary = match (detail.exception.as_str(), detail.message.as_str()) {
            (exception, "") => format!("the handler raised {exception}"),
            (exception, message) => format!("the handler raised {exception}: {message}"),
        };
        let mut failure = LastFailure::new(summary);
        failure.at = Timestamp::now();
        failure.status = u16::try_from(reply.code).unwrap_or(500);
        failure.raised = Some(Raised {
            exception: detail.exception,
            message: detail.message,
            traceback: detail.traceback,
            file: None,
            line: None,
        });
        self.add(FailureOf::Handler, worker, failure);
    }
}

fn is_same(one: &LastFailure, other: &LastFailure) -> bool {
    let traceback = |failure: &LastFailure| {
        let raised = failure.raised.as_ref();
        raised.map(|raised| raised.traceback.clone())
    };
    one.summary == other.summary && traceback(one) == traceback(other)
}

fn keep_end(text: &mut String) {
    if let Some(mut start) = text.len().checked_sub(LONGEST_TRACEBACK) {
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text.drain(..start);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tserve_shm::{ReplyItem, ReplyTimes};

    use super::*;

    fn reply(text: &str) -> Reply {
        let body = format!(
            r#"{{"exception":"ValueError","message":"{text}","traceback":"Traceback: {text}"}}"#
        );
        Reply {
            code: 503,
            message: "Prediction failed".to_owned(),
            is_last: true,
            times: ReplyTimes::default(),
            items: vec![ReplyItem {
                index: 0,
                status: 503,
                phrase: None,
                headers: Vec::new(),
                body: Bytes::from(body),
            }],
        }
    }

    #[test]
    fn failures_of_a_handler_leave_those_of_workers_alone() {
        let history = FailureHistory::default();
        history.add(
            FailureOf::Worker,
            9000,
            LastFailure::new("it died".to_owned()),
        );
        for number in 0..3 * REMEMBERED {
            history.add_reply(9001, &reply(&format!("no {number}")));
        }
        let latest = history.latest();
        assert_eq!(latest.len(), REMEMBERED + 1);
        let raised = latest[0].failure.raised.as_ref().unwrap();
        assert_eq!(
            raised.traceback,
            format!("Traceback: no {}", 3 * REMEMBERED - 1)
        );
        assert_eq!(latest[0].failure.status, 503);
        assert!(
            latest
                .iter()
                .any(|it| it.of == FailureOf::Worker && it.worker == 9000)
        );
    }

    #[test]
    fn the_same_failure_in_a_row_is_counted() {
        let history = FailureHistory::default();
        for worker in 0..5 {
            history.add_reply(worker, &reply("same"));
        }
        history.add_reply(7, &reply("other"));
        let latest = history.latest();
        let times: Vec<_> = latest.iter().map(|it| (it.worker, it.times)).collect();
        assert_eq!(times, [(7, 1), (4, 5)]);
    }

    #[test]
    fn what_is_no_description_is_not_remembered() {
        let history = FailureHistory::default();
        let mut lie = reply("x");
        lie.items[0].body = Bytes::from_static(b"[1]");
        history.add_reply(1, &lie);
        lie.items.clear();
        history.add_reply(1, &lie);
        assert!(history.latest().is_empty());
        let mut text = "é".repeat(LONGEST_TRACEBACK);
        keep_end(&mut text);
        assert!(text.len() <= LONGEST_TRACEBACK && text.starts_with('é'));
    }
}
