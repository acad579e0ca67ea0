//! Real peers and clients that this project did not write: see `tests/`.
