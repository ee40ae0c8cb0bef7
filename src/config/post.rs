//! `reload = { post = "URL", … }`: an HTTP request that tells somebody.

use super::plan::{HeaderPart, PostPlan};
use super::read::Reader;
use super::tree::{Item, Raw, Table};
use std::time::Duration;

/// How long the whole exchange may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a request can be.
pub const METHODS: &[&str] = &["POST", "PUT", "PATCH", "GET", "DELETE"];
/// What our HTTP client says itself.
pub const OWN_HEADERS: &[&str] = &["host", "content-length", "transfer-encoding", "connection"];
/// Any 2xx.
const SUCCESS: (u16, u16) = (200, 299);

/// Reads the table; `None`: a mistake was reported.
pub fn post(reader: &mut Reader<'_>, table: &Table) -> Option<PostPlan> {
    let item = table.get("post")?;
    let method = reader.word(table, "method", METHODS, |name| METHODS.contains(&name).then(|| name.to_owned()));
    let headers = headers(reader, table);
    let expect = expect(reader, table);
    let timeout = reader.interval(table, "timeout").unwrap_or(TIMEOUT);
    let url = reader.nonempty("post", item)?;
    // A query may hold a token.
    let written = match &item.raw {
        Raw::Text(text) => text.split_once('?').map_or_else(|| text.clone(), |(before, _)| format!("{before}?…")),
        _ => String::new(),
    };
    if cfg!(not(feature = "net")) {
        let hint = "use a build with the feature `net`, or { run = [\"PROGRAM\"] } with a client of the image";
        reader.wrong(item.spot, "`post` needs the network, and this proem was built without it", hint);
        return None;
    }
    let Some((secure, host, port, path)) = parse(&url) else {
        // The URL itself is not repeated: what a reference expanded to, or a password in it, may be secret.
        let hint = "write `http://HOST[:PORT]/PATH` or `https://…`, percent-encoded, without user and password: \
                    these go into `headers`";
        reader.wrong(item.spot, "`post` is no URL that a request can be sent to", hint);
        return None;
    };
    let method = method.unwrap_or_else(|| "POST".to_owned());
    Some(PostPlan { written, secure, host, port, path, method, headers, expect, timeout })
}

/// `http://host[:port][/path][?query]`: whether it is `https`, host, port, path and query.
fn parse(url: &str) -> Option<(bool, String, u16, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = path.split('#').next().unwrap_or_default();
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of `[::1]` are not a port's.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (authority, if secure { 443 } else { 80 }),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(legal),
    };
    valid.then(|| (secure, host.to_owned(), port, path))
}

fn headers(reader: &mut Reader<'_>, table: &Table) -> Vec<(String, Vec<HeaderPart>)> {
    let Some(Item { raw, spot }) = table.get("headers") else { return Vec::new() };
    let Raw::Table(headers) = raw else {
        let message = format!("`headers` is {}, not a table", raw.describe());
        reader.wrong(*spot, message, "write `headers = { Authorization = \"Bearer {file:/run/secrets/token}\" }`");
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, entry) in headers.in_order() {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            reader.wrong(entry.key, format!("`{name}` is no name of a header"), "letters, digits and `-`");
            continue;
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            reader.wrong(entry.key, format!("the header `{name}` is proem's to send"), "remove it");
            continue;
        }
        let Some((value, _)) = reader.expanded(name, &entry.item) else { continue };
        if value.chars().any(char::is_control) {
            reader.wrong(entry.item.spot, format!("the header `{name}` holds a control character"), "remove it");
            continue;
        }
        match parts(&value) {
            Some(parts) => all.push((name.to_owned(), parts)),
            None => reader.wrong(
                entry.item.spot,
                format!("the header `{name}` names a file that is not absolute"),
                "write `{file:/PATH}`",
            ),
        }
    }
    all
}

/// `Bearer {file:/run/secrets/token}`; `None`: a file is not named, or not by an absolute path.
fn parts(value: &str) -> Option<Vec<HeaderPart>> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some((text, after)) = rest.split_once("{file:") {
        let (path, after) = after.split_once('}')?;
        if !path.starts_with('/') {
            return None;
        }
        parts.extend((!text.is_empty()).then(|| HeaderPart::Text(text.to_owned())));
        parts.push(HeaderPart::File(path.into()));
        rest = after;
    }
    parts.extend((!rest.is_empty()).then(|| HeaderPart::Text(rest.to_owned())));
    Some(parts)
}

/// `200`, `"2xx"`, or a list of these.
fn expect(reader: &mut Reader<'_>, table: &Table) -> Vec<(u16, u16)> {
    let Some(item) = table.get("expect") else { return vec![SUCCESS] };
    let items = match &item.raw {
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    let mut statuses = Vec::new();
    for one in items {
        let text = match &one.raw {
            Raw::Integer(digits) | Raw::Text(digits) => digits.as_str(),
            _ => "",
        };
        match status(text) {
            Some(range) => statuses.push(range),
            None => reader.wrong(one.spot, "`expect` is no HTTP status", "write 204, \"2xx\" or [200, 204]"),
        }
    }
    if items.is_empty() {
        reader.wrong(item.spot, "`expect` names no status", "write 204, \"2xx\" or [200, 204]");
    }
    statuses
}

fn status(text: &str) -> Option<(u16, u16)> {
    if let Some(class @ 1..=5) = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
        return Some((class * 100, class * 100 + 99));
    }
    text.parse().ok().filter(|status| (100..=599).contains(status)).map(|status| (status, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let shown = |url| parse(url).map(|(secure, host, port, path)| format!("{secure} {host} {port} {path}"));
        for (url, wanted) in [
            ("http://h", Some("false h 80 /")),
            ("https://h:1/p?q=1#f", Some("true h 1 /p?q=1")),
            ("http://[::1]:9/x", Some("false [::1] 9 /x")),
            ("http://h?q", Some("false h 80 /?q")),
            ("http://u:p@h/", None),
            ("http://h:0/", None),
            ("http://h/a b", None),
            ("http:///x", None),
            ("ftp://h/", None),
            ("h:80", None),
        ] {
            assert_eq!(shown(url).as_deref(), wanted, "{url}");
        }
    }

    #[test]
    fn values_of_headers_are_put_together_from_files() {
        let (text, file) = (|text: &str| HeaderPart::Text(text.into()), |path: &str| HeaderPart::File(path.into()));
        assert_eq!(parts("x"), Some(vec![text("x")]));
        assert_eq!(parts("Bearer {file:/t}"), Some(vec![text("Bearer "), file("/t")]));
        assert_eq!(parts("{file:/a}:{file:/b}!"), Some(vec![file("/a"), text(":"), file("/b"), text("!")]));
        assert_eq!(parts("{file:t}"), None);
        assert_eq!(parts("{file:/t"), None);
    }

    #[test]
    fn statuses() {
        assert_eq!(status("204"), Some((204, 204)));
        assert_eq!(status("3xx"), Some((300, 399)));
        assert_eq!((status("6xx"), status("99"), status("ok"), status("xx")), (None, None, None, None));
    }
}
