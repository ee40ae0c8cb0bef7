//! What ends proem or is reported and retried: a message in the house style, and a hint with the remedy.

use crate::exit::Exit;
use std::fmt;

/// A message that follows "proem: ", and the remedy.
///
/// House style: a lowercase fragment, user text in backticks, path and cause inside, no final period. It never holds a
/// value of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, where and why.
    pub message: String,
    /// What to do about it, exactly.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint without a hint.
    pub fn new(message: impl Into<String>) -> Complaint {
        Complaint { message: message.into(), hint: None }
    }

    /// The same complaint with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }

    /// This complaint as the reason to end with `exit`.
    pub fn exit(self, exit: Exit) -> Failure {
        Failure { exit, complaints: vec![self] }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why proem ends by itself, with every complaint there is (never only the first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// At least one; in the order of the files that they are about.
    pub complaints: Vec<Complaint>,
}

impl Failure {
    /// A failure with one complaint that has no hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Complaint::new(message).exit(exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.complaints.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            complaint.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An I/O error's cause in the house style: lowercase, without the number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => error.kind().to_string(),
    }
}
