//! A worker that is to end in order: it takes nothing new and finishes what it has.

use std::sync::Arc;

use super::control::FromWorker;
use super::life::Life;
use super::streaming::wait_for_room;
use super::supervisor::{StopMode, Supervisor};
use crate::dispatch::LinkEnd;

impl Supervisor {
    /// Takes the worker out of service and lets finish what it has, until the pool runs out of
    /// patience.
    pub(super) async fn drain(&mut self, life: &mut Life) -> Option<LinkEnd> {
        let stall = self.context.config.stream_stall_timeout;
        let context = Arc::clone(&self.context);
        let dispatcher = Arc::clone(&context.dispatcher);
        let mut leaving = dispatcher.leave(self.status.id);
        let mut link = None;
        let mut has_left = false;
        let Ok(bell) = life.bell() else {
            return dispatcher.detach(self.status.id).await;
        };
        while let Ok(finished) = life.collect(self.context.reply_limits()) {
            if finished > 0 {
                dispatcher.pump();
            }
            if has_left && life.is_idle() {
                break;
            }
            let room = life.lacks_room();
            if room.is_none() && !life.completions.prepare_to_wait() {
                continue;
            }
            let more = async {
                match &room {
                    Some(room) => wait_for_room(room, stall).await,
                    None => bell.rung(&life.completions).await,
                }
            };
            tokio::select! {
                end = &mut leaving, if !has_left => {
                    link = end.ok();
                    has_left = true;
                }
                () = more => {
                    if room.is_some() {
                        life.resume(stall);
                    }
                }
                _ = life.child.wait() => break,
                Ok(FromWorker::Metrics { lines }) = life.control.receive() => {
                    context.measured(&lines);
                }
                _ = self.stop.wait_for(|mode| *mode == StopMode::Kill) => break,
            }
        }
        if !has_left {
            link = dispatcher.detach(self.status.id).await;
        }
        link
    }
}
