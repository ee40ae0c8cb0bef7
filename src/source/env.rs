//! `env:` and `env:PREFIX_`: the environment that proem was started with. It never changes.

use super::file::{self, Content};
use super::kind::{self, Facts, Takes};
use super::uri::Uri;
use super::{Found, Local, Reading, SourceError, Trace, Watch};
use crate::error::Complaint;
use crate::value::{Builder, Value};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

const OPTIONS: [(&str, Takes); 2] = [("files", Takes::Nothing), ("links", Takes::Nothing)];

/// Checks an `env:` URI.
pub(super) fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    kind::check_options(uri, &OPTIONS)?;
    if uri.authority.is_some() || uri.path.contains(['/', '=']) {
        return Err(Complaint::new(format!("`{}` names no variables", uri.text))
            .hint("write `env:` for all, or `env:PREFIX_` for those that start with `PREFIX_`"));
    }
    Ok(Facts { changes: false, credentials: &[], store: None })
}

pub(super) fn open(uri: &Uri) -> Box<dyn Local> {
    Box::new(Env {
        prefix: uri.path.clone(),
        files: uri.option("files").is_some(),
        links: uri.option("links").is_some(),
    })
}

/// Which variables, and how.
struct Env {
    /// Empty: all, as they are.
    prefix: String,
    /// `X_FILE` supplies `X`.
    files: bool,
    /// Kubernetes' service links are not left out.
    links: bool,
}

impl Local for Env {
    fn read(&mut self) -> Result<Reading, SourceError> {
        self.take(std::env::vars_os())
    }

    fn watch(&self) -> Watch {
        Watch::Never
    }
}

impl Env {
    fn take(&self, all: impl Iterator<Item = (OsString, OsString)>) -> Result<Reading, SourceError> {
        let mut warnings = Vec::new();
        let mut variables: Vec<(String, String)> = Vec::new();
        for (name, value) in all {
            // The value is not shown, and the name only as far as it is text.
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, value)),
                (Ok(name), Err(_)) if name.starts_with(&self.prefix) => {
                    warnings.push(format!("environment variable `{name}` is not UTF-8 and is left out"));
                }
                (Err(name), _) if name.to_string_lossy().starts_with(&self.prefix) => {
                    let name = name.to_string_lossy();
                    warnings.push(format!("environment variable `{name}` is not UTF-8 and is left out"));
                }
                _ => {}
            }
        }
        // Sorted, so that the same environment gives the same tree whatever its order.
        variables.sort_unstable();
        if !self.prefix.is_empty() {
            if !self.links {
                leave_out_service_links(&mut variables);
            }
            variables.retain(|(name, _)| name.starts_with(&self.prefix) && name.len() > self.prefix.len());
        }
        let secret = self.files && self.read_files(&mut variables)?;
        let mut tree = Builder::new();
        let mut names = BTreeSet::new();
        for (name, value) in variables {
            if self.prefix.is_empty() {
                tree.push([name.as_str()], Value::from(value));
                continue;
            }
            let key = name[self.prefix.len()..].to_lowercase();
            tree.push(key.split("__"), Value::from(value));
            if !names.insert(key) {
                warnings.push(format!(
                    "environment variable `{name}` is there in upper and lower case: one of them counts"
                ));
            }
        }
        let (value, more) = tree.finish();
        warnings.extend(more);
        Ok(Reading { found: Found::Value(value), secret, warnings })
    }

    /// Replaces each `X_FILE` by `X` with the file's content. Whether there was any.
    fn read_files(&self, variables: &mut Vec<(String, String)>) -> Result<bool, SourceError> {
        let mut read = Vec::new();
        variables.retain(|(name, path)| {
            let target = name.strip_suffix("_FILE").filter(|target| target.len() > self.prefix.len());
            match target {
                // Set but empty is how compose files say "unset".
                Some(_) if path.is_empty() => false,
                Some(target) => {
                    read.push((name.clone(), target.to_owned(), path.clone()));
                    false
                }
                None => true,
            }
        });
        let any = !read.is_empty();
        for (name, target, path) in read {
            if variables.iter().any(|(other, _)| *other == target) {
                return Err(SourceError::on_change(format!("choose between `{target}` and `{name}`: both are set"))
                    .hint("unset one of them"));
            }
            let content = file::read_whole(Path::new(&path), &mut Trace::default()).map_err(|error| {
                SourceError::later(format!("read {path}, which `{name}` names: {error}"))
                    .hint(format!("mount the file, or unset `{name}`"))
            })?;
            let Content::Text(text) = file::Content::of(content, false) else {
                return Err(SourceError::on_change(format!("use {path}, which `{name}` names: it is not UTF-8 text")));
            };
            variables.push((target, text));
        }
        Ok(any)
    }
}

/// Kubernetes gives every container variables for each service of its namespace: for a service `app`,
/// `APP_SERVICE_HOST`, `APP_PORT=tcp://10.0.0.1:80` and more, which look like configuration of an application `APP_`.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn leave_out_service_links(variables: &mut Vec<(String, String)>) {
    let is_link = |base: &str| {
        variables
            .binary_search_by(|(name, _)| name.as_str().cmp(&format!("{base}_PORT")))
            .is_ok_and(|at| ["tcp://", "udp://", "sctp://"].iter().any(|start| variables[at].1.starts_with(start)))
    };
    let bases: Vec<String> = variables
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("_SERVICE_HOST"))
        .filter(|base| is_link(base))
        .map(str::to_owned)
        .collect();
    variables.retain(|(name, _)| !bases.iter().any(|base| name.strip_prefix(base.as_str()).is_some_and(is_link_part)));
}

/// What follows a service's name in its links' names.
fn is_link_part(rest: &str) -> bool {
    if matches!(rest, "_SERVICE_HOST" | "_SERVICE_PORT" | "_PORT") || rest.starts_with("_SERVICE_PORT_") {
        return true;
    }
    let Some((port, protocol)) = rest.strip_prefix("_PORT_").and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let (protocol, last) = protocol.split_once('_').unwrap_or((protocol, ""));
    port.parse::<u16>().is_ok()
        && matches!(protocol, "TCP" | "UDP" | "SCTP")
        && matches!(last, "" | "PROTO" | "PORT" | "ADDR")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn read(uri: &str, variables: &[(&str, &str)]) -> Result<Reading, SourceError> {
        let uri = Uri::parse(uri).unwrap();
        inspect(&uri).unwrap();
        let env = Env {
            prefix: uri.path.clone(),
            files: uri.option("files").is_some(),
            links: uri.option("links").is_some(),
        };
        env.take(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn show(uri: &str, variables: &[(&str, &str)]) -> String {
        match read(uri, variables).unwrap().found {
            Found::Value(value) => serde_json::to_string(&value).unwrap(),
            Found::Missing(what) => what,
        }
    }

    #[test]
    fn bare_and_prefixed() {
        let all = [("APP_DB__HOST", "h"), ("PATH", "/bin"), ("APP_PORT", "80"), ("APP_", "x"), ("APPX", "")];
        assert_eq!(show("env:APP_", &all), r#"{"db":{"host":"h"},"port":"80"}"#);
        assert_eq!(show("env:", &all), r#"{"APPX":"","APP_":"x","APP_DB__HOST":"h","APP_PORT":"80","PATH":"/bin"}"#);
        assert_eq!(show("env:NONE_", &all), "{}");
    }

    #[test]
    fn service_links_are_left_out() {
        let all = [
            ("APP_SERVICE_HOST", "10.0.0.1"),
            ("APP_SERVICE_PORT", "80"),
            ("APP_SERVICE_PORT_HTTP", "80"),
            ("APP_PORT", "tcp://10.0.0.1:80"),
            ("APP_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("APP_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("APP_PORT_MAX", "9"),
            ("APP_DB_SERVICE_HOST", "mine"),
            ("APP_DB_PORT", "5432"),
        ];
        assert_eq!(show("env:APP_", &all), r#"{"db_port":"5432","db_service_host":"mine","port_max":"9"}"#);
        assert!(show("env:APP_?links", &all).contains("tcp://"));
        assert!(show("env:", &all).contains("APP_PORT_80_TCP"));
    }

    #[test]
    fn files_supply_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "s3cret\n\n").unwrap();
        let path = path.to_str().unwrap();
        let reading = read("env:APP_?files", &[("APP_DB__PASSWORD_FILE", path), ("APP_X_FILE", "")]).unwrap();
        assert!(reading.secret);
        let Found::Value(value) = reading.found else { panic!() };
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"db":{"password":"s3cret\n"}}"#);
        assert_eq!(show("env:?files", &[("PW_FILE", path)]), r#"{"PW":"s3cret\n"}"#);
        assert!(!read("env:APP_?files", &[("APP_X", "")]).unwrap().secret);

        let error = read("env:APP_?files", &[("APP_X_FILE", "/does/not/exist")]).unwrap_err();
        assert_eq!(error.message, "read /does/not/exist, which `APP_X_FILE` names: no such file or directory");
        let error = read("env:APP_?files", &[("APP_X_FILE", path), ("APP_X", "1")]).unwrap_err();
        assert_eq!(error.message, "choose between `APP_X` and `APP_X_FILE`: both are set");
    }

    #[test]
    fn what_is_not_text_is_named() {
        let env = Env { prefix: "APP_".to_owned(), files: false, links: false };
        let bad = OsString::from_vec(vec![0xff]);
        let reading = env.take([("APP_X".into(), bad.clone()), ("OTHER".into(), bad)].into_iter()).unwrap();
        assert_eq!(reading.warnings, ["environment variable `APP_X` is not UTF-8 and is left out"]);
    }

    #[test]
    fn a_path_is_not_a_prefix() {
        assert!(inspect(&Uri::parse("env://X").unwrap()).is_err());
        assert!(inspect(&Uri::parse("env:X=1").unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_environment_is_read_and_its_order_does_not_matter(
            variables in proptest::collection::btree_map("APP_[A-Z_]{0,8}", "[a-z]{0,3}", 0..12),
        ) {
            let forward: Vec<_> = variables.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let backward: Vec<_> = forward.iter().rev().copied().collect();
            prop_assert_eq!(show("env:APP_", &forward), show("env:APP_", &backward));
        }
    }
}
