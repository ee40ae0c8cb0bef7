//! Text to text: base64, paths, URLs.

use super::{Args, Input, fail};
use crate::value::Value;
use tera::TeraResult;
use tera::value::ValueKind;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `b64encode`: RFC 4648 §4, padded. Takes binary data as well.
pub(super) fn b64encode(input: &Value) -> TeraResult<Value> {
    let bytes = match input.as_bytes() {
        Some(bytes) => bytes,
        None => Input(input).text()?.as_bytes(),
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (word >> (18 - 6 * index) & 63) as usize;
            out.push(if index <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    Ok(out.into())
}

/// `b64decode`: both alphabets of RFC 4648, with or without padding; line breaks are skipped. The result is text.
pub(super) fn b64decode(input: &Value) -> TeraResult<Value> {
    let text = Input(input).text()?;
    let wrong = || fail("its input is not base64");
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0_u32, 0);
    let stripped = text.trim_end().trim_end_matches('=');
    for byte in stripped.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let byte = match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        };
        let sextet = ALPHABET.iter().position(|letter| *letter == byte).ok_or_else(wrong)?;
        word = (word << 6 | u32::try_from(sextet).unwrap_or(0)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
        }
    }
    if bits >= 6 {
        return Err(wrong());
    }
    String::from_utf8(bytes).map(Value::from).map_err(|_| fail("what its input encodes is not text"))
}

/// `str`: the text of a scalar. Tera's own writes maps and lists in a syntax that nobody reads.
pub(super) fn str(input: &Value) -> TeraResult<Value> {
    match input.kind() {
        ValueKind::String => Ok(input.clone()),
        ValueKind::Undefined | ValueKind::None | ValueKind::Map | ValueKind::Array | ValueKind::Bytes => {
            Err(Input(input).not("a string, a number or a boolean"))
        }
        _ => Ok(input.to_string().into()),
    }
}

/// `base`: what is after the last `/`.
pub(super) fn base(input: &Value) -> TeraResult<Value> {
    let path = Input(input).text()?.trim_end_matches('/');
    Ok(path.rsplit('/').next().unwrap_or(path).into())
}

/// `dir`: what is before the last `/`; `.` when there is none, `/` for the root, as dirname(1).
pub(super) fn dir(input: &Value) -> TeraResult<Value> {
    let path = Input(input).text()?.trim_end_matches('/');
    Ok(match path.rsplit_once('/') {
        Some((dir, _)) if dir.trim_end_matches('/').is_empty() => "/",
        Some((dir, _)) => dir.trim_end_matches('/'),
        None if path.is_empty() && !Input(input).text()?.is_empty() => "/",
        None => ".",
    }
    .into())
}

/// `urlencode(keep)`: everything but the unreserved characters of RFC 3986 §2.3 and those of `keep`.
pub(super) fn urlencode(input: &Value, args: &Args) -> TeraResult<Value> {
    let keep = args.text("keep")?.unwrap_or_default().as_bytes();
    let text = match Input(input).0.as_i128() {
        Some(number) => number.to_string(),
        None => Input(input).text()?.to_owned(),
    };
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (byte.is_ascii() && keep.contains(&byte)) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
    Ok(out.into())
}
