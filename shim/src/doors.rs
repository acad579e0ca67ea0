//! Doors for tests: each function takes bytes as a stranger may have written them.
