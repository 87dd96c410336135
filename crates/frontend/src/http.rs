//! REST: thin adapters from HTTP to the services and back. No rules.
//!
//! [`bind`] opens the listeners of a configuration, [`Listeners::serve`] serves them. A request
//! goes `listener` → `connection` (`head`, `chunked`, `wire`) or `http2` → `exchange` → `authorization` → `routes` →
//! `inference` or `management` (`body`, `multipart`, `form`, `target`) → the services, and its answer back
//! through `response` and, in parts, `parts`.

mod answer;
mod authorization;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod body;
mod chunked;
mod connection;
mod description;
mod documentation;
mod doorstep;
mod events;
mod exchange;
mod form;
mod head;
mod http2;
mod inference;
mod limits;
mod listener;
mod loggers;
mod management;
mod metrics;
mod multipart;
mod open_inference;
mod parts;
mod platform;
mod response;
mod routes;
mod target;
mod wire;

pub use self::limits::Limits;
pub use self::listener::{Listeners, bind};

use self::routes::Api;

/// Which APIs one listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "any of them may be there")]
struct Connector {
    inference: bool,
    management: bool,
    metrics: bool,
    /// Whether inference includes the Open Inference Protocol.
    open_inference: bool,
}

impl Connector {
    const INFERENCE: Self = Self {
        inference: true,
        management: false,
        metrics: false,
        open_inference: false,
    };
    const MANAGEMENT: Self = Self {
        inference: false,
        management: true,
        metrics: false,
        open_inference: false,
    };
    const METRICS: Self = Self {
        inference: false,
        management: false,
        metrics: true,
        open_inference: false,
    };
    /// One listener for what two would serve.
    fn and(self, other: Self) -> Self {
        Self {
            inference: self.inference || other.inference,
            management: self.management || other.management,
            metrics: self.metrics || other.metrics,
            open_inference: self.open_inference || other.open_inference,
        }
    }

    #[cfg(test)]
    const COMBINED: Self = Self {
        inference: true,
        management: true,
        metrics: true,
        open_inference: true,
    };

    /// The name for the log.
    fn name(self) -> &'static str {
        if self.inference {
            "Inference"
        } else if self.management {
            "Management"
        } else {
            "Metrics"
        }
    }

    fn serves(self, api: Api) -> bool {
        match api {
            Api::Every => true,
            Api::Models => self.inference || self.management,
            Api::Inference | Api::Nowhere => self.inference,
            Api::Management | Api::Tokens => self.management,
            Api::Metrics => self.metrics,
            Api::OpenInference => self.inference && self.open_inference,
        }
    }
}

#[cfg(test)]
mod tests;
