//! How to come by a token: it is given, or an auth method gives it for something else that is.

use super::client::{Client, Reply};
use crate::source::SourceError;
use crate::source::store::Credential;
use serde_json::json;
use std::time::Duration;

/// What logs in. Has no `Debug`: a credential is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A token, or none: Vault's agent adds its own.
    Token(Credential),
    /// An auth method, mounted here below `auth/`.
    By(Method, String),
}

/// What an auth method gives a token for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// `approle`.
    AppRole {
        /// Which role.
        role_id: Credential,
        /// Its secret; a role can do without.
        secret_id: Credential,
    },
    /// `kubernetes`: the pod's service account is who we are.
    Kubernetes {
        /// Which role.
        role: String,
        /// The service account's token.
        jwt: Credential,
    },
}

/// A token that Vault gave or knows.
pub(super) struct Token {
    /// The token itself.
    pub text: String,
    /// Its life; zero: it does not end.
    pub length: Duration,
    /// Whether that can be renewed.
    pub renewable: bool,
}

impl Method {
    /// Logs in.
    pub(super) async fn log_in(&self, mount: &str, client: &Client) -> Result<Token, SourceError> {
        let (body, hint) = match self {
            Method::AppRole { role_id, secret_id } => {
                let body = json!({ "role_id": role_id.read("role ID")?, "secret_id": secret_id.read("secret ID")? });
                let hint = "a secret ID ends, or has been used as often as it may: VAULT_SECRET_ID_FILE (or \
                            `secret_id_file`) names a file that holds a new one";
                (body, hint)
            }
            Method::Kubernetes { role, jwt } => {
                let body = json!({ "role": role, "jwt": jwt.read("service account token")? });
                (body, "is there such a role, and is it bound to this pod's service account and namespace?")
            }
        };
        let doing = format!("log in by `auth/{mount}` to");
        let reply = client.tell(&format!("auth/{mount}/login"), None, &body).await?;
        if reply.status != 200 {
            let error = client.refused(&doing, &reply);
            return Err(if error.hint.is_none() { error.hint(hint) } else { error });
        }
        Token::granted(&reply).ok_or_else(|| client.nonsense(&doing, "the answer holds no token"))
    }
}

impl Login {
    /// What to do about a token that may not do what this rule allows.
    pub(super) fn remedy(&self, rule: &str) -> String {
        match self {
            Login::Token(Credential::None) => {
                format!("no token is given: VAULT_TOKEN_FILE names one that has {rule}")
            }
            Login::Token(Credential::Value(_)) => format!("the token has ended, or needs {rule}"),
            Login::Token(Credential::File(path)) => {
                format!("the token in `{}` has ended, or needs {rule}", path.display())
            }
            Login::By(_, mount) => format!("a policy of the role at `auth/{mount}` must have {rule}"),
        }
    }
}

impl Token {
    /// The token of an answer to a login or a renewal.
    pub(super) fn granted(reply: &Reply) -> Option<Token> {
        let text = reply.text("auth.client_token")?.to_owned();
        Some(Token { text, length: reply.seconds("auth.lease_duration"), renewable: reply.is("auth.renewable") })
    }
}
