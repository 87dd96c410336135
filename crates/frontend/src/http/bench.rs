//! The adapter's steps one by one, for `benches/http.rs`, which cannot see them otherwise.

use super::Connector;
use super::body::Content;
use super::head::{Head, HeadScanner};
use super::response::{CorsHeaders, Response};
use super::routes;
use super::target::Target;
use crate::service::InferenceReply;

/// What a connection keeps between requests.
#[derive(Debug, Default)]
pub struct Adapter {
    head: Head,
    cors: CorsHeaders,
    out: Vec<u8>,
}

impl Adapter {
    /// Finds the end of a head and parses it; returns its length, 0 when it is incomplete or wrong.
    pub fn parse(&mut self, bytes: &[u8]) -> usize {
        let Ok(Some(end)) = HeadScanner::default().find_end(bytes) else {
            return 0;
        };
        match self.head.parse(&bytes[..end]) {
            Ok(()) => end,
            Err(_) => 0,
        }
    }

    /// Finds the route of the head parsed last, and what kind of body it announces; returns the
    /// length of the model's name.
    pub fn route(&self, bytes: &[u8]) -> usize {
        let head = self.head.view(bytes);
        let Ok(target) = Target::parse(head.target()) else {
            return 0;
        };
        let found = routes::find(Connector::INFERENCE, head.method(), target.path());
        let content = Content::read(head.content_type(), &[]);
        match (found, content) {
            (Ok((_, captures)), Ok(_)) => captures.model.map_or(0, str::len),
            _ => 0,
        }
    }

    /// Writes a model's reply; returns its length on the wire.
    pub fn respond(&mut self, reply: InferenceReply) -> usize {
        let id = "123e4567-e89b-12d3-a456-426614174000";
        let response = Response::reply(reply);
        self.out.clear();
        response.write_head(&mut self.out, Some(id), &self.cors, false);
        self.out.extend_from_slice(response.body());
        self.out.len()
    }
}
