//! Which source wins, setting by setting.
