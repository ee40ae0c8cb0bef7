//! A reload by an HTTP request: one try, on a thread of its own.

use crate::config::plan::PostPlan;
use crate::error::Complaint;

/// Enough for a TLS handshake, with room to spare.
pub const STACK: usize = 512 << 10;

/// As it is named in messages: `POST http://host/path`.
pub fn shown(post: &PostPlan) -> String {
    format!("{} {}", post.method, post.written)
}

fn failed(post: &PostPlan, why: &str) -> Complaint {
    Complaint::new(format!("reload `{}` failed: {why}", shown(post)))
}

/// Sends the request once and judges its answer. Blocks for at most the timeout.
#[cfg(feature = "net")]
pub fn send(post: &PostPlan) -> Result<(), Complaint> {
    use crate::net::http::{Address, Client};
    let headers = headers(post)?;
    let PostPlan { secure, port, timeout, .. } = *post;
    let address = Address::Url { secure, host: post.host.clone(), port, base: String::new() };
    let client = Client::own(address, crate::net::tls::Tls::default());
    let runtime = crate::net::runtime().map_err(|error| failed(post, &crate::error::reason(&error)))?;
    let answer =
        runtime.block_on(async { tokio::time::timeout(timeout, client.ask(&post.method, &post.path, headers)).await });
    // A name that is still being looked up on a thread of the runtime holds nobody up.
    runtime.shutdown_background();
    match answer {
        Err(_) => Err(failed(post, &format!("no answer within {timeout:?}"))),
        Ok(Err(no_answer)) => Err(failed(post, &no_answer.reason)),
        Ok(Ok(status)) if post.expect.iter().any(|(first, last)| (*first..=*last).contains(&status)) => Ok(()),
        Ok(Ok(status)) => Err(failed(post, &format!("status {status}"))),
    }
}

/// Without the network such a reload is a mistake of the configuration, so this is never reached.
#[cfg(not(feature = "net"))]
pub fn send(post: &PostPlan) -> Result<(), Complaint> {
    Err(failed(post, "this proem was built without the network"))
}

/// The headers, with what their files hold now. No value is ever part of a message.
#[cfg(feature = "net")]
fn headers(post: &PostPlan) -> Result<reqwest::header::HeaderMap, Complaint> {
    use crate::config::plan::HeaderPart;
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, parts) in &post.headers {
        let mut value = String::new();
        for part in parts {
            match part {
                HeaderPart::Text(text) => value.push_str(text),
                HeaderPart::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        let (path, why) = (path.display(), crate::error::reason(&error));
                        failed(post, &format!("the header `{name}` takes its value from {path}: {why}"))
                    })?;
                    value.push_str(text.trim_end_matches(['\r', '\n']));
                }
            }
        }
        let unusable = || failed(post, &format!("the value of the header `{name}` cannot be sent"));
        let value = crate::net::http::secret_header(&value).ok_or_else(unusable)?;
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        headers.append(name, value);
    }
    Ok(headers)
}
