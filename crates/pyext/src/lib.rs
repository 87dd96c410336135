//! `tserve_worker._native`: a thin skin over the worker's end of `tserve-shm`.
//!
//! What Python sees is described in `python/tserve_worker/_native.pyi`.

mod batch;
mod errors;
mod json;
mod link;
mod payload;
mod values;

/// The extension module.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::batch::Batch;
    #[pymodule_export]
    use super::json::dumps;
    #[pymodule_export]
    use super::link::{Link, end_with};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        use super::errors::{LinkClosed, ReplyTooLarge};

        let py = module.py();
        module.add("LinkClosed", py.get_type::<LinkClosed>())?;
        module.add("ReplyTooLarge", py.get_type::<ReplyTooLarge>())?;
        module.add("LAYOUT_VERSION", tserve_shm::wire::LAYOUT_VERSION)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
