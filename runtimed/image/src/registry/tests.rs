//! Against a registry that misbehaves.
