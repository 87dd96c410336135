//! `tserve_worker._native`.
