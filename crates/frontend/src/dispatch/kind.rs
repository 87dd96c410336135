//! The ways in which the requests of a model become batches.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::model::settings::Settings;

/// Most batches that a worker with an asynchronous handler may have begun and not answered.
const MOST_SIDE_BY_SIDE: u32 = 1024;

/// How many sequences there may be, and how long they live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceLimits {
    /// Sequences of one model version at a time, on all workers.
    pub most: usize,
    /// Requests of one sequence that may wait, besides the one that runs.
    pub most_waiting: usize,
    /// How long a sequence lives without a request.
    pub idle: Duration,
    /// How long it lives at most; `None` for as long as requests come.
    pub lifetime: Option<Duration>,
}

/// How requests become batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A batch is formed, runs, and is answered; the next one is formed of other requests.
    Batches,
    /// A worker's batches are rounds that hang together.
    Rounds {
        /// Whether a request comes back in the next round until its handler says that it is done.
        is_continuous: bool,
        /// Set when requests belong to sequences, each of which stays with one worker.
        sequences: Option<SequenceLimits>,
        /// Name of the response header with the sequences that are over.
        end_header: String,
    },
    /// A worker gets the next batch while others still run, and answers in any order.
    SideBySide,
}

impl Kind {
    /// What a model version asks for.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for what cannot work together.
    pub fn of(settings: &Settings, config: &Config) -> Result<Self, Error> {
        let declared = &settings.declared;
        let is_stateful = declared.sequence_batching;
        if is_stateful && declared.sequence_max_idle_msec == 0 {
            return Err(Error::BadRequest(
                "sequenceBatching needs a sequenceMaxIdleMSec above 0: how long a sequence lives \
                 without a request."
                    .to_owned(),
            ));
        }
        let in_rounds = is_stateful || declared.continuous_batching;
        if in_rounds && declared.async_communication {
            return Err(Error::BadRequest(
                "asyncCommunication cannot be combined with sequenceBatching or \
                 continuousBatching."
                    .to_owned(),
            ));
        }
        if declared.async_communication {
            return Ok(Self::SideBySide);
        }
        if !in_rounds {
            return Ok(Self::Batches);
        }
        let lifetime = Duration::from_millis(declared.sequence_timeout_msec);
        Ok(Self::Rounds {
            is_continuous: declared.continuous_batching,
            sequences: is_stateful.then(|| SequenceLimits {
                most: declared.max_num_sequence.max(1) as usize,
                most_waiting: declared.max_sequence_job_queue_size.max(1) as usize,
                idle: Duration::from_millis(declared.sequence_max_idle_msec),
                lifetime: Some(lifetime).filter(|lifetime| !lifetime.is_zero()),
            }),
            end_header: config.sequence_headers[2].clone(),
        })
    }

    /// Whether requests belong to sequences.
    pub fn has_sequences(&self) -> bool {
        matches!(
            self,
            Self::Rounds {
                sequences: Some(_),
                ..
            }
        )
    }

    /// Requests that may hold no place in the queue, besides one or two batches that run.
    pub fn without_places(&self) -> usize {
        match self {
            Self::Rounds {
                sequences: Some(limits),
                ..
            } => limits.most.saturating_mul(limits.most_waiting),
            Self::SideBySide => MOST_SIDE_BY_SIDE as usize,
            _ => 0,
        }
    }

    /// Batches that a worker's link must hold.
    pub fn link_depth(&self) -> u32 {
        match self {
            Self::SideBySide => MOST_SIDE_BY_SIDE,
            _ => super::LINK_DEPTH,
        }
    }

    /// Batches that a worker may be running at a time.
    pub(super) fn at_once(&self) -> u64 {
        match self {
            Self::SideBySide => MOST_SIDE_BY_SIDE.into(),
            _ => 1,
        }
    }

    /// What the batches of a worker in rounds are answered by.
    pub(super) fn rules(&self) -> Option<Arc<RoundRules>> {
        match self {
            Self::Rounds {
                is_continuous,
                end_header,
                ..
            } => Some(Arc::new(RoundRules {
                is_continuous: *is_continuous,
                end_header: end_header.clone(),
            })),
            _ => None,
        }
    }
}

/// How the reply to a round is read.
#[derive(Debug)]
pub(super) struct RoundRules {
    /// Whether an answer may be a part, and its request come back.
    pub(super) is_continuous: bool,
    /// Name of the response header with the sequences that are over.
    pub(super) end_header: String,
}
