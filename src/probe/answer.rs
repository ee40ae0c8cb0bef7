//! The answer of a server, as HTTP/1 (RFC 9112) or CGI (RFC 3875 §6) writes it: its status and the beginning of its
//! body. Pure: bytes in, in pieces of any size; what is kept is bounded.

use super::Down;

/// Of all lines that are not body, together.
const MAX_HEAD: usize = 16 << 10;
/// Of the body: what a pattern is looked for in.
pub(super) const MAX_BODY: usize = 64 << 10;

/// What was read of an answer so far.
#[derive(Debug)]
pub(super) struct Answer {
    stage: Stage,
    /// The line that is not complete yet.
    line: Vec<u8>,
    head_left: usize,
    status: Option<u16>,
    length: Option<u64>,
    chunked: bool,
    body: Vec<u8>,
    /// There was more body than is kept.
    cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    StatusLine,
    /// Headers of an interim answer (1xx).
    Interim,
    Headers,
    /// Headers as CGI has them, the status among them.
    CgiHeaders,
    /// Until the connection ends, or the record that says so.
    ToEnd,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailer,
    Done,
}

impl Answer {
    /// The answer to a GET of HTTP/1.
    pub(super) fn of_http() -> Answer {
        Answer {
            stage: Stage::StatusLine,
            line: Vec::new(),
            head_left: MAX_HEAD,
            status: None,
            length: None,
            chunked: false,
            body: Vec::new(),
            cut: false,
        }
    }

    /// What a CGI program writes: no `Status` among its headers means 200.
    pub(super) fn of_cgi() -> Answer {
        Answer { stage: Stage::CgiHeaders, ..Answer::of_http() }
    }

    /// The status, as soon as it is known.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// The body's beginning as text, and whether there is more.
    pub(super) fn body(&self) -> (String, bool) {
        (String::from_utf8_lossy(&self.body).into_owned(), self.cut)
    }

    /// Whether all of the body that is looked at is there.
    pub(super) fn has_body(&self) -> bool {
        self.stage == Stage::Done || self.cut
    }

    /// Takes in what was read.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Down> {
        while !bytes.is_empty() {
            bytes = match self.stage {
                Stage::Done => &[],
                Stage::ToEnd => {
                    self.keep(bytes);
                    &[]
                }
                Stage::Length(left) => {
                    let (rest, left) = self.keep_of(bytes, left);
                    self.stage = if left == 0 { Stage::Done } else { Stage::Length(left) };
                    rest
                }
                Stage::Chunk(left) => {
                    let (rest, left) = self.keep_of(bytes, left);
                    self.stage = if left == 0 { Stage::ChunkEnd } else { Stage::Chunk(left) };
                    rest
                }
                _ => self.take_line(bytes)?,
            };
        }
        Ok(())
    }

    /// The connection ended.
    pub(super) fn end(&mut self) -> Result<(), Down> {
        match self.stage {
            Stage::ToEnd | Stage::Done => {
                self.stage = Stage::Done;
                Ok(())
            }
            Stage::StatusLine | Stage::CgiHeaders if self.head_left == MAX_HEAD => {
                Err(Down::new("it closed the connection without an answer"))
            }
            _ => Err(Down::new("it closed the connection in the middle of its answer")),
        }
    }

    fn take_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Down> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        self.head_left = self
            .head_left
            .checked_sub(piece.len())
            .ok_or_else(|| Down::new(format!("the head of its answer is longer than {} KiB", MAX_HEAD >> 10)))?;
        self.line.extend_from_slice(piece);
        if self.stage == Stage::StatusLine && !self.line.starts_with(&b"HTTP/"[..self.line.len().min(5)]) {
            return Err(not_http());
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.stage = self.after(&line)?;
        }
        Ok(rest)
    }

    /// What follows a complete line.
    fn after(&mut self, line: &[u8]) -> Result<Stage, Down> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        Ok(match self.stage {
            Stage::StatusLine => {
                let mut words = line.split_ascii_whitespace();
                let version = words.next().unwrap_or_default();
                match words.next().and_then(status_code).filter(|_| version.starts_with("HTTP/1.")) {
                    Some(100..=199) => Stage::Interim,
                    Some(status) => {
                        self.status = Some(status);
                        Stage::Headers
                    }
                    None => return Err(not_http()),
                }
            }
            Stage::Interim if line.is_empty() => Stage::StatusLine,
            Stage::Headers if line.is_empty() => match (self.status, self.length) {
                (Some(204 | 304), _) => Stage::Done,
                _ if self.chunked => Stage::ChunkSize,
                (_, Some(0)) => Stage::Done,
                (_, Some(length)) => Stage::Length(length),
                (_, None) => Stage::ToEnd,
            },
            Stage::Headers => {
                self.header(line);
                Stage::Headers
            }
            Stage::CgiHeaders if line.is_empty() => {
                self.status = self.status.or(Some(200));
                Stage::ToEnd
            }
            Stage::CgiHeaders => {
                let (name, value) = line.split_once(':').ok_or_else(|| Down::new("its answer has no CGI header"))?;
                if name.eq_ignore_ascii_case("status") {
                    let code = value.split_ascii_whitespace().next().and_then(status_code);
                    self.status = Some(code.ok_or_else(|| Down::new("its answer has a `Status` that is none"))?);
                }
                Stage::CgiHeaders
            }
            Stage::ChunkSize => {
                let size = line.split(';').next().unwrap_or_default().trim();
                match u64::from_str_radix(size, 16) {
                    Ok(0) => Stage::Trailer,
                    // `from_str_radix` takes a sign.
                    Ok(size) if !line.starts_with('+') => Stage::Chunk(size),
                    _ => return Err(not_http()),
                }
            }
            Stage::ChunkEnd if line.is_empty() => Stage::ChunkSize,
            Stage::ChunkEnd => return Err(not_http()),
            Stage::Trailer if line.is_empty() => Stage::Done,
            stage => stage,
        })
    }

    fn header(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            self.length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.chunked = value.to_ascii_lowercase().contains("chunked");
        }
    }

    /// Keeps up to `left` bytes of body; returns what follows them, and how many are still to come.
    fn keep_of<'b>(&mut self, bytes: &'b [u8], left: u64) -> (&'b [u8], u64) {
        let (body, rest) = bytes.split_at(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
        self.keep(body);
        (rest, left - body.len() as u64)
    }

    fn keep(&mut self, body: &[u8]) {
        let room = MAX_BODY - self.body.len();
        self.body.extend_from_slice(&body[..body.len().min(room)]);
        self.cut |= body.len() > room;
    }
}

fn not_http() -> Down {
    Down::new("its answer is not HTTP")
}

/// Three digits, from 100 on.
fn status_code(word: &str) -> Option<u16> {
    let digits = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|code| digits && *code >= 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Status and body of an answer that arrives in pieces of `size`.
    fn read(mut answer: Answer, bytes: &[u8], size: usize) -> Result<(Option<u16>, String), String> {
        for piece in bytes.chunks(size) {
            answer.take(piece).map_err(|down| down.why)?;
        }
        answer.end().map_err(|down| down.why)?;
        Ok((answer.status(), answer.body().0))
    }

    fn http(text: &str) -> Result<(Option<u16>, String), String> {
        let whole = read(Answer::of_http(), text.as_bytes(), usize::MAX);
        assert_eq!(read(Answer::of_http(), text.as_bytes(), 1), whole, "{text:?}");
        whole
    }

    #[test]
    fn the_status_is_known_before_the_headers_end() {
        let status = |text: &str| {
            let mut answer = Answer::of_http();
            answer.take(text.as_bytes()).map(|()| answer.status()).map_err(|down| down.why)
        };
        assert_eq!(status(""), Ok(None));
        assert_eq!(status("HTTP/1.1 20"), Ok(None));
        assert_eq!(status("HTTP/1.1 204 No Content\r\n"), Ok(Some(204)));
        assert_eq!(status("HTTP/1.1 103 Early Hints\r\nLink: x\r\n"), Ok(None));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 x\r\n"), Ok(Some(503)));
        for text in ["SSH-2.0-OpenSSH", "HTTP/1.1 abc\r\n", "HTTP/1.1 99 x\r\n", "HTTP/2 200\r\n", "HTTP/1.1 +20 x\r\n"]
        {
            assert_eq!(status(text), Err("its answer is not HTTP".to_owned()), "{text}");
        }
    }

    #[test]
    fn the_body_ends_as_its_headers_say() {
        let ok = |text: &str| http(text).unwrap().1;
        assert_eq!(ok("HTTP/1.1 200 OK\r\n\r\nto the end"), "to the end");
        assert_eq!(ok("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore"), "ok");
        assert_eq!(ok("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore"), "");
        assert_eq!(ok("HTTP/1.1 204 x\r\n\r\nmore"), "");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\nmore";
        assert_eq!(ok(chunked), "abc0123456789");
        let middle = "it closed the connection in the middle of its answer";
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        ] {
            assert_eq!(http(text).unwrap_err(), middle);
        }
        for bad in ["-1\r\n", "+3\r\n", "x\r\n", "1\r\nab\r\n", "11111111111111111\r\n"] {
            let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
            assert_eq!(http(&text).unwrap_err(), "its answer is not HTTP", "{bad}");
        }
        assert_eq!(http("").unwrap_err(), "it closed the connection without an answer");
    }

    #[test]
    fn cgi_says_its_status_in_a_header() {
        let cgi = |text: &str| read(Answer::of_cgi(), text.as_bytes(), 3);
        assert_eq!(cgi("Content-type: text/plain\r\n\r\npong"), Ok((Some(200), "pong".to_owned())));
        assert_eq!(cgi("Status: 404 Not Found\nX: y\n\nno"), Ok((Some(404), "no".to_owned())));
        assert_eq!(cgi("Status: OK\r\n\r\n").unwrap_err(), "its answer has a `Status` that is none");
        assert_eq!(cgi("Fatal error\n").unwrap_err(), "its answer has no CGI header");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut answer = Answer::of_http();
        answer.take(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        for _ in 0..100 {
            answer.take(&[b'x'; 10_000]).unwrap();
        }
        assert_eq!((answer.body().0.len(), answer.body().1, answer.has_body()), (MAX_BODY, true, true));
        let mut endless = Answer::of_cgi();
        let down = (0..).find_map(|_| endless.take(b"X: 0123456789\r\n").err()).unwrap();
        assert_eq!(down.why, "the head of its answer is longer than 16 KiB");
        let mut line = Answer::of_http();
        line.take(b"HTTP/1.1 200 ").unwrap();
        assert!((0..100).any(|_| line.take(&[b'x'; 1000]).is_err()));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..40usize, chunked: bool) {
            let head: &[u8] = if chunked {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\n"
            };
            let _ = read(Answer::of_http(), &bytes, size);
            let _ = read(Answer::of_http(), &[head, &bytes].concat(), size);
            let _ = read(Answer::of_cgi(), &bytes, size);
        }

        #[test]
        fn the_size_of_pieces_changes_nothing(body in "[ -~\r\n]{0,200}", size in 1..40usize, length in 0..300usize) {
            for head in [String::new(), format!("Content-Length: {length}\r\n")] {
                let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
                let whole = read(Answer::of_http(), text.as_bytes(), usize::MAX);
                prop_assert_eq!(read(Answer::of_http(), text.as_bytes(), size), whole);
            }
        }
    }
}
