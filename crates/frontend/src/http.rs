//! stub
#![allow(
    missing_docs,
    unused,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic
)]
#[derive(Debug, thiserror::Error)]
#[error("bind")]
pub struct BindError;
pub struct Listeners;
pub fn bind(c: &crate::config::Config) -> Result<Listeners, BindError> {
    todo!()
}
impl Listeners {
    pub async fn serve(self, s: crate::service::Services, r: tokio::sync::watch::Receiver<bool>) {
        todo!()
    }
}
