//! A document that cannot be used.

/// What is wrong with a document, by the name of the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    field: String,
    reason: String,
}

impl Error {
    /// `reason` about `field`; an empty field stands for the whole document.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The field, as a path of names: `linux.resources.memory.limit`, `mounts[3].destination`.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.reason),
            field => write!(f, "{field}: {}", self.reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for errors::Error {
    fn from(e: Error) -> Self {
        errors::Error::invalid(e.to_string())
    }
}
