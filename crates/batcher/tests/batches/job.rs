//! A job that counts its drops and whose client can go away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use tserve_batcher::Queued;

#[derive(Debug)]
pub(crate) struct Job {
    id: u32,
    arrived: Instant,
    expires: Option<Instant>,
    client: Arc<Client>,
}

/// The one who waits for the answer, and sees whether there is one.
#[derive(Debug, Default)]
pub(crate) struct Client {
    gone: AtomicBool,
    drops: AtomicU32,
}

impl Job {
    pub(crate) fn new(id: u32, arrived: Instant) -> Self {
        Self {
            id,
            arrived,
            expires: None,
            client: Arc::default(),
        }
    }

    pub(crate) fn expiring(mut self, expires: Option<Instant>) -> Self {
        self.expires = expires;
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }
}

impl Client {
    pub(crate) fn go_away(&self) {
        self.gone.store(true, Relaxed);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    pub(crate) fn drops(&self) -> u32 {
        self.drops.load(Relaxed)
    }
}

impl Queued for Job {
    fn is_live(&self, now: Instant) -> bool {
        !self.client.is_gone() && self.expires.is_none_or(|expires| now < expires)
    }

    fn arrived(&self) -> Instant {
        self.arrived
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.client.drops.fetch_add(1, Relaxed);
    }
}
