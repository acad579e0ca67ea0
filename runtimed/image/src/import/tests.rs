//! Archives, honest and not.
