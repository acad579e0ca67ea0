//! Whole flows through all four programs: see `tests/`.
