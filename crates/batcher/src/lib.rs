//! Lock-free job queues and batch formation.
