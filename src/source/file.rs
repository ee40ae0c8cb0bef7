//! `file:` and `dir:`: one file (a document or text), or a directory as a tree.

use super::format::Format;
use super::kind::{self, Facts, Takes};
use super::uri::Uri;
use super::{Found, Local, Reading, SourceError, Trace, Watch, places, tree};
use crate::error::{Complaint, reason};
use crate::value::Value;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The largest file that is read, bytes: as much as a Kubernetes Secret can hold.
pub const MAX_FILE: u64 = 1 << 20;

const OPTIONS: [(&str, Takes); 1] = [("raw", Takes::Nothing)];

/// Checks a `file:` or `dir:` URI.
pub(super) fn inspect(uri: &Uri) -> Result<Facts, Complaint> {
    kind::check_options(uri, &OPTIONS)?;
    if let Some(host) = &uri.authority {
        return Err(Complaint::new(format!("`{}` names a host, `{host}`: files are local", uri.text))
            .hint(format!("write `{}:/{host}{}`", uri.scheme, uri.path)));
    }
    if uri.path.is_empty() {
        return Err(
            Complaint::new(format!("`{}` names no file", uri.text)).hint(format!("write `{}:/path`", uri.scheme))
        );
    }
    Ok(Facts { changes: true, credentials: &[], store: None })
}

pub(super) fn open(uri: &Uri) -> Result<Box<dyn Local>, Complaint> {
    let path = std::path::absolute(&uri.path)
        .map_err(|error| Complaint::new(format!("failed to find `{}`: {}", uri.text.clone(), reason(&error))))?;
    Ok(Box::new(Files {
        path,
        directory: uri.scheme == "dir" || uri.path.ends_with('/'),
        how: How { raw: uri.option("raw").is_some(), format: kind::format(uri) },
        directories: Vec::new(),
        trace: None,
    }))
}

/// What the options say about each file's content.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// A trailing newline stays.
    pub(super) raw: bool,
    /// What each file is parsed as.
    pub(super) format: Option<Format>,
}

struct Files {
    path: PathBuf,
    /// It was written as one. What is there decides otherwise.
    directory: bool,
    how: How,
    /// Where a change of what was read last would show.
    directories: Vec<PathBuf>,
    trace: Option<Trace>,
}

impl Local for Files {
    fn read(&mut self) -> Result<Reading, SourceError> {
        self.directories = places::of(&self.path);
        self.trace = None;
        let shown = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => {
                let trace = self.trace.insert(Trace::default());
                let read = tree::read(&self.path, self.how, &mut self.directories, trace);
                self.directories.sort();
                self.directories.dedup();
                read
            }
            Ok(_) if self.directory => {
                Err(SourceError::on_change(format!("read {shown} as a directory: it is a file"))
                    .hint(format!("write `file:{}`", shown.to_string().trim_end_matches('/'))))
            }
            Ok(_) => {
                let format = self.how.format.unwrap_or_else(|| Format::of_path(&self.path));
                let mut trace = Trace::default();
                let read = read_whole(&self.path, &mut trace);
                if read.as_ref().is_err_and(Unreadable::is_absent) {
                    return Ok(self.missing());
                }
                self.trace = Some(trace);
                let whole = read.map_err(|error| error.of(&self.path))?;
                let secret = is_secret(&self.path, &whole);
                let value = parse(&self.path, whole, How { format: Some(format), ..self.how })?;
                Ok(Reading { found: Found::Value(value), secret, warnings: Vec::new() })
            }
            Err(error) if is_absent(&error) => Ok(self.missing()),
            Err(error) => Err(SourceError::later(format!("read {shown}: {}", reason(&error)))),
        }
    }

    fn watch(&self) -> Watch {
        Watch::Directories(self.directories.clone())
    }

    fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    fn depends_on(&self, file: &Path) -> bool {
        match std::fs::canonicalize(&self.path) {
            Ok(path) if path.is_dir() => file.file_name().is_some_and(|name| !tree::is_left_out(name)),
            Ok(path) => path == file,
            Err(_) => false,
        }
    }
}

impl Files {
    fn missing(&self) -> Reading {
        let what = if self.directory { "directory" } else { "file" };
        Reading {
            found: Found::Missing(format!("there is no {what} {}", self.path.display())),
            secret: false,
            warnings: Vec::new(),
        }
    }
}

/// Whether what this file holds must not be readable by others once it is in a target: it lies where Docker, podman and
/// Kubernetes mount secrets, or its own mode keeps others out.
pub(super) fn is_secret(path: &Path, whole: &Whole) -> bool {
    whole.private || ["/run/secrets", "/var/run/secrets"].iter().any(|secrets| path.starts_with(secrets))
}

/// A file's content as a value.
pub(super) fn parse(path: &Path, whole: Whole, how: How) -> Result<Value, SourceError> {
    let shown = path.display();
    match how.format {
        None | Some(Format::Text) => Ok(match Content::of(whole, how.raw) {
            Content::Text(text) => Value::from(text),
            Content::Bytes(bytes) => Value::bytes(bytes),
        }),
        Some(format) => {
            let text = String::from_utf8(whole.bytes)
                .map_err(|_| SourceError::on_change(format!("parse {shown} as {format}: it is not UTF-8 text")))?;
            format.parse(&text).map_err(|wrong| SourceError::on_change(format!("parse {shown}: {wrong}")))
        }
    }
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// Group and others may neither read nor write it.
    private: bool,
}

/// A file's content that no format parses.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Content {
    /// Takes one trailing newline off unless `raw`: editors and `echo` add it, and no secret means it.
    pub(super) fn of(whole: Whole, raw: bool) -> Content {
        match String::from_utf8(whole.bytes) {
            Ok(mut text) => {
                if !raw && text.ends_with('\n') {
                    text.pop();
                    if text.ends_with('\r') {
                        text.pop();
                    }
                }
                Content::Text(text)
            }
            Err(error) => Content::Bytes(error.into_bytes()),
        }
    }
}

/// Why a file could not be read, without its name.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    /// A pipe, a device…
    Irregular,
    TooLarge,
    /// Whoever writes it did not pause for a moment.
    Changing,
}

impl Unreadable {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Unreadable::Io(error) if is_absent(error))
    }

    /// The error of the layer that needed this file.
    pub(super) fn of(self, path: &Path) -> SourceError {
        let message = format!("read {}: {self}", path.display());
        match self {
            Unreadable::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => SourceError::later(message)
                .hint(format!("proem runs as uid {}: let it read the file", nix::unistd::geteuid())),
            Unreadable::Io(_) | Unreadable::Changing => SourceError::later(message),
            Unreadable::Irregular | Unreadable::TooLarge => SourceError::on_change(message),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Io(error) => f.write_str(&reason(error)),
            Unreadable::Irregular => f.write_str("it is not a regular file"),
            Unreadable::TooLarge => write!(f, "it is larger than {} MiB", MAX_FILE >> 20),
            Unreadable::Changing => f.write_str("it changed while it was read"),
        }
    }
}

/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 5;

/// Reads a regular file of at most [`MAX_FILE`] bytes; `trace` gets what it was. A name that leads to another file by the
/// end does no harm: the one that was read was whole.
pub(super) fn read_whole(path: &Path, trace: &mut Trace) -> Result<Whole, Unreadable> {
    for _ in 0..ATTEMPTS {
        if let Some(whole) = read_once(path, trace)? {
            return Ok(whole);
        }
    }
    trace.add_torn();
    Err(Unreadable::Changing)
}

/// `None`: it changed meanwhile.
fn read_once(path: &Path, trace: &mut Trace) -> Result<Option<Whole>, Unreadable> {
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(Unreadable::Io)?;
    let metadata = file.metadata().map_err(Unreadable::Io)?;
    if !metadata.is_file() {
        return Err(Unreadable::Irregular);
    }
    if metadata.len() > MAX_FILE {
        return Err(Unreadable::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Unreadable::TooLarge);
    }
    let stamp = |of: &Metadata| (of.dev(), of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), changed(of));
    if stamp(&metadata) != stamp(&file.metadata().map_err(Unreadable::Io)?) {
        return Ok(None);
    }
    trace.add(stamp(&metadata), changed(&metadata), bytes.is_empty());
    bytes.shrink_to_fit();
    // No bit of 0o077 is set.
    Ok(Some(Whole { bytes, private: metadata.mode().trailing_zeros() >= 6 }))
}

/// The time that nobody can set. Before 1970 is long ago, too.
fn changed(of: &Metadata) -> SystemTime {
    let nanos = Duration::from_nanos(of.ctime_nsec().unsigned_abs());
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(of.ctime()).unwrap_or(0)) + nanos
}

/// Not there, in either of the kernel's words for it.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn source(uri: &str) -> Box<dyn Local> {
        let uri = Uri::parse(uri).unwrap();
        inspect(&uri).unwrap();
        open(&uri).unwrap()
    }

    fn read(uri: &str) -> Result<Reading, SourceError> {
        source(uri).read()
    }

    fn value(uri: &str) -> Value {
        match read(uri).unwrap().found {
            Found::Value(value) => value,
            Found::Missing(what) => panic!("{what}"),
        }
    }

    #[test]
    fn documents_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        std::fs::write(dir.path().join("a.toml"), "x = 1\n").unwrap();
        std::fs::write(dir.path().join("a.conf"), "{\"x\": 1}\n\n").unwrap();
        std::fs::write(dir.path().join("a.bin"), [0xff, b'\n']).unwrap();
        assert_eq!(value(&format!("file:{at}/a.toml")).get_from_path("x"), Some(&Value::from(1)));
        assert_eq!(value(&format!("file:{at}/a.toml?format=text")), Value::from("x = 1"));
        assert_eq!(value(&format!("file:{at}/a.conf")), Value::from("{\"x\": 1}\n"));
        assert_eq!(value(&format!("file:{at}/a.conf?raw")), Value::from("{\"x\": 1}\n\n"));
        assert_eq!(value(&format!("file:{at}/a.conf?format=json")).get_from_path("x"), Some(&Value::from(1)));
        assert!(value(&format!("file:{at}/a.bin")).is_bytes());
        assert_eq!(
            read(&format!("file:{at}/a.bin?format=json")).unwrap_err().message,
            format!("parse {at}/a.bin as JSON: it is not UTF-8 text")
        );
    }

    #[test]
    fn mistakes_and_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        std::fs::write(dir.path().join("a.toml"), "x = hunter2\n").unwrap();
        let error = read(&format!("file:{at}/a.toml")).unwrap_err();
        assert_eq!(error.message, format!("parse {at}/a.toml: line 1, column 5: string values must be quoted"));
        assert_eq!(error.retry, super::super::Retry::OnChange);
        for path in ["b.toml", "a.toml/x"] {
            let Found::Missing(what) = read(&format!("file:{at}/{path}")).unwrap().found else { panic!() };
            assert_eq!(what, format!("there is no file {at}/{path}"));
        }
        let error = read(&format!("dir:{at}/a.toml")).unwrap_err();
        assert_eq!(error.message, format!("read {at}/a.toml as a directory: it is a file"));
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&format!("file:{at}/pipe")).unwrap_err().message.ends_with("it is not a regular file"));
        std::fs::write(dir.path().join("large"), vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(read(&format!("file:{at}/large")).unwrap_err().message.ends_with("it is larger than 1 MiB"));
        assert!(
            inspect(&Uri::parse("file://etc/passwd").unwrap()).unwrap_err().hint.unwrap().contains("file:/etc/passwd")
        );
        assert!(inspect(&Uri::parse("file:").unwrap()).is_err());
    }

    #[test]
    fn a_private_file_is_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "x").unwrap();
        for (mode, secret) in [(0o644, false), (0o640, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&format!("file:{}", path.display())).unwrap().secret, secret, "{mode:o}");
            assert_eq!(read(&format!("file:{}", dir.path().display())).unwrap().secret, secret, "{mode:o}");
        }
        let whole = Whole { bytes: Vec::new(), private: false };
        assert!(is_secret(Path::new("/run/secrets/x"), &whole) && !is_secret(Path::new("/run/secrets2/x"), &whole));
    }
}
