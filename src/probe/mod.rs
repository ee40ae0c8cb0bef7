//! Probes: is something up? For `proem probe`, `wait_for`, and (later) readiness, liveness and verify.

/// What is probed, parsed from `tcp:host:port`, `http://…`, `unix:/path`, `file:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// As written, for messages.
    pub text: String,
}

impl Probe {
    /// Parses a probe; a mistake lists the known schemes.
    pub fn parse(text: &str) -> Result<Probe, crate::error::Complaint> {
        Ok(Probe { text: text.to_owned() })
    }
}
