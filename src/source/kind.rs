//! Which kinds there are: the one table from a URI's scheme to the code that understands it.

#[cfg(feature = "net")]
use super::Remote;
use super::format::Format;
use super::uri::Uri;
use super::{Local, container, env, file};
use crate::config::plan::{LayerPlan, StorePlan};
use crate::error::Complaint;
use crate::nearest::nearest;
use std::collections::BTreeMap;
use std::time::Duration;

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

/// A layer that is ready to be read.
pub enum Opened {
    /// Read by this process, at once.
    Local(Box<dyn Local>),
    /// Run by the driver on the network thread.
    #[cfg(feature = "net")]
    Remote(Box<dyn Remote>),
}

/// What an option's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// No value: `?optional`.
    Nothing,
    /// Any text that is not empty: `?dc=eu`.
    Text,
    /// The same, any number of times: `?tag=a&tag=b`.
    Texts,
    /// A whole number: `?min=2`.
    Number,
    /// A duration with its unit, at least 100 ms: `?every=30s`.
    Every,
    /// A format's name: `?format=json`.
    Format,
}

/// The options that every kind takes.
pub const COMMON: [(&str, Takes); 3] =
    [("optional", Takes::Nothing), ("typed", Takes::Nothing), ("format", Takes::Format)];

/// One kind. A new store is a row here, and a file.
struct Kind {
    scheme: &'static str,
    inspect: fn(&Uri) -> Result<Facts, Complaint>,
    open: fn(&LayerPlan, &BTreeMap<String, StorePlan>) -> Result<Opened, Complaint>,
}

const KINDS: &[Kind] = &[
    Kind { scheme: "env", inspect: env::inspect, open: |layer, _| Ok(Opened::Local(env::open(&layer.uri))) },
    Kind { scheme: "file", inspect: file::inspect, open: |layer, _| file::open(&layer.uri).map(Opened::Local) },
    Kind { scheme: "dir", inspect: file::inspect, open: |layer, _| file::open(&layer.uri).map(Opened::Local) },
    Kind {
        scheme: "container",
        inspect: container::inspect,
        open: |layer, _| Ok(Opened::Local(container::open(&layer.uri))),
    },
    #[cfg(feature = "consul")]
    Kind { scheme: "consul", inspect: super::consul::inspect, open: consul },
    #[cfg(feature = "consul")]
    Kind { scheme: "consul+service", inspect: super::consul::inspect, open: consul },
    #[cfg(feature = "vault")]
    Kind {
        scheme: "vault",
        inspect: super::vault::inspect,
        open: |layer, stores| super::vault::open(&layer.uri, stores).map(Opened::Remote),
    },
];

/// Schemes that a full build knows, for a build without them: scheme, cargo feature, name.
const OPTIONAL_KINDS: [(&str, &str, &str); 3] =
    [("consul", "consul", "Consul"), ("consul+service", "consul", "Consul"), ("vault", "vault", "Vault")];

#[cfg(feature = "consul")]
fn consul(layer: &LayerPlan, stores: &BTreeMap<String, StorePlan>) -> Result<Opened, Complaint> {
    super::consul::open(&layer.uri, stores).map(Opened::Remote)
}

/// The schemes that this build knows.
pub fn schemes() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.scheme)
}

fn find(uri: &Uri) -> Result<&'static Kind, Complaint> {
    if let Some(kind) = KINDS.iter().find(|kind| kind.scheme == uri.scheme) {
        return Ok(kind);
    }
    if let Some((_, feature, name)) = OPTIONAL_KINDS.iter().find(|(scheme, ..)| *scheme == uri.scheme) {
        return Err(Complaint::new(format!("`{}`: this proem was built without {name}", uri.text))
            .hint(format!("use a build with the cargo feature `{feature}`")));
    }
    let known: Vec<_> = KINDS.iter().map(|kind| kind.scheme).collect();
    Err(unknown(&format!("`{}`: there is no kind of source", uri.text), &uri.scheme, &known))
}

/// Checks a URI's scheme, path and query options without any I/O. A mistake names the option and the nearest known one.
///
/// `?optional`, `?typed` and `?format=` belong to every kind.
pub fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    (find(uri)?.inspect)(uri)
}

/// Makes a layer ready to be read; a relative path is taken from the current directory. Nothing is read yet.
pub fn open(layer: &LayerPlan, stores: &BTreeMap<String, StorePlan>) -> Result<Opened, Complaint> {
    let kind = find(&layer.uri)?;
    (kind.inspect)(&layer.uri)?;
    (kind.open)(layer, stores)
}

/// Checks the query: every option is of `own` or of [`COMMON`], is given once, and has the value that it takes.
pub fn check_options(uri: &Uri, own: &[(&str, Takes)]) -> Result<(), Complaint> {
    let shown = &uri.text;
    for (at, (name, value)) in uri.query.iter().enumerate() {
        let Some((_, takes)) = own.iter().chain(&COMMON).find(|(known, _)| known == name) else {
            let known: Vec<_> = own.iter().chain(&COMMON).map(|(known, _)| *known).collect();
            return Err(unknown(&format!("`{shown}`: there is no option"), name, &known));
        };
        if *takes != Takes::Texts && uri.query[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(Complaint::new(format!("`{shown}`: `?{name}` is given twice")).hint("leave one of them out"));
        }
        let value = value.as_deref();
        let (complaint, hint) = match (takes, value) {
            (Takes::Nothing, None) => continue,
            (Takes::Nothing, Some(_)) => {
                (format!("`?{name}` takes no value"), format!("write `?{name}`, or leave it out"))
            }
            (_, None | Some("")) => (format!("`?{name}=` needs a value"), "give it one, or leave it out".to_owned()),
            (Takes::Text | Takes::Texts, Some(_)) => continue,
            (Takes::Number, Some(text)) if text.parse::<u32>().is_ok() => continue,
            (Takes::Number, Some(text)) => {
                (format!("`?{name}={text}` is not a whole number"), format!("write `?{name}=1`"))
            }
            (Takes::Every, Some(text)) if duration(text).is_some_and(|every| every >= Duration::from_millis(100)) => {
                continue;
            }
            (Takes::Every, Some(text)) => (
                format!("`?{name}={text}` is not a duration of at least 100 ms"),
                "write a number and its unit: `500ms`, `30s`, `5m`, `1h`".to_owned(),
            ),
            (Takes::Format, Some(text)) if Format::by_name(text).is_some() => continue,
            (Takes::Format, Some(text)) => {
                return Err(unknown(&format!("`{shown}`: there is no format"), text, &Format::NAMES));
            }
        };
        return Err(Complaint::new(format!("`{shown}`: {complaint}")).hint(hint));
    }
    Ok(())
}

/// The `?format=` of a URI that [`check_options`] accepted.
pub fn format(uri: &Uri) -> Option<Format> {
    uri.option("format").flatten().and_then(Format::by_name)
}

/// The `?every=` of a URI that [`check_options`] accepted.
pub fn every(uri: &Uri) -> Option<Duration> {
    uri.option("every").flatten().and_then(duration)
}

fn duration(text: &str) -> Option<Duration> {
    crate::config::units::duration(text).ok()
}

fn unknown(start: &str, name: &str, known: &[&str]) -> Complaint {
    let list = known.join(", ");
    Complaint::new(format!("{start} `{name}`")).hint(match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`? known: {list}"),
        None => format!("known: {list}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> Complaint {
        inspect(&Uri::parse(text).unwrap()).unwrap_err()
    }

    #[test]
    fn a_mistake_names_the_nearest() {
        let wrong = complaint("fil:/etc/x");
        assert_eq!(wrong.message, "`fil:/etc/x`: there is no kind of source `fil`");
        assert!(wrong.hint.unwrap().starts_with("did you mean `file`? known: env, file"));
        let wrong = complaint("env:APP_?optinal");
        assert_eq!(wrong.message, "`env:APP_?optinal`: there is no option `optinal`");
        assert!(wrong.hint.unwrap().starts_with("did you mean `optional`?"));
        assert!(complaint("zookeeper:/x").hint.unwrap().starts_with("known: "));
        assert!(complaint("file:/x?format=jsn").hint.unwrap().contains("`json`"));
        assert!(complaint("file:/x?format").message.contains("needs a value"));
        assert!(complaint("file:/x?raw=1").message.contains("takes no value"));
        assert!(complaint("file:/x?raw&raw").message.contains("twice"));
        assert!(complaint("container:?every=5").message.contains("not a duration"));
        assert!(complaint("container:?every=1ms").message.contains("not a duration"));
    }

    #[test]
    fn facts() {
        let facts = |text: &str| inspect(&Uri::parse(text).unwrap()).unwrap();
        assert!(!facts("env:?typed&optional&format=json").changes);
        assert!(facts("file:/x").changes && facts("dir:/x?raw").changes && facts("file:x/").changes);
        assert!(!facts("container:").changes && facts("container:?every=5m").changes);
    }

    #[cfg(not(feature = "consul"))]
    #[test]
    fn a_store_that_is_not_built_in_says_so() {
        assert_eq!(complaint("consul:x").message, "`consul:x`: this proem was built without Consul");
    }
}
