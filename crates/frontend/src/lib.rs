//! The tserve server.
