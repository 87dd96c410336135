//! Names, versions and default versions.
