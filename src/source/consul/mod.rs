//! Consul: the place where its kinds plug in.

use super::Remote;
use super::kind::Facts;
use super::uri::Uri;
use crate::config::plan::StorePlan;
use crate::error::Complaint;
use std::collections::BTreeMap;

/// Checks a `consul:` URI.
pub fn inspect(_: &Uri) -> Result<Facts, Complaint> {
    Ok(Facts { changes: true, credentials: &[], store: Some("consul") })
}

/// Makes a Consul layer ready to be watched.
pub fn open(uri: &Uri, _: &BTreeMap<String, StorePlan>) -> Result<Box<dyn Remote>, Complaint> {
    Err(Complaint::new(format!("`{}` cannot be reached by this build", uri.shown())))
}
