//! What a registry asks of those who want something: a password (RFC 7617), or a token that another server gives for
//! one (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication").

use http_auth::{ChallengeRef, parse_challenges};
use oci_client::secrets::RegistryAuth;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use super::RegistryError;
use super::connection::Connection;

/// More than any token server says, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Who asks, for those servers that keep a record (OAuth2).
const CLIENT_ID: &str = "parbake";

/// What goes with every request.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Grant {
    /// User and password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// A token server's answer; either name is in use, and some give both.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Grant {
    /// Puts it into a request.
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic(user, password) => request.basic_auth(user, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Connection {
    /// What the registry wants to see with every request of these scopes; nothing, if it takes anybody.
    pub(super) async fn granted(&self, act: &str) -> Result<Option<Grant>, RegistryError> {
        let request = self.http.get(format!("{}/v2/", self.base));
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return if response.status().is_success() {
                Ok(None)
            } else {
                Err(self.refused(act, response).await)
            };
        }
        match (challenge(response.headers()), &self.credentials.auth) {
            (Some(Challenge::Bearer { realm, service }), _) => {
                let token = self.token(&realm, service.as_deref(), act).await?;
                Ok(Some(Grant::Bearer(token)))
            }
            (Some(Challenge::Basic), RegistryAuth::Basic(user, password)) => {
                Ok(Some(Grant::Basic(user.clone(), password.clone())))
            }
            _ => Err(self.refused(act, response).await),
        }
    }

    async fn token(&self, realm: &str, service: Option<&str>, act: &str) -> Result<String, RegistryError> {
        let nonsense = |problem: &str| RegistryError::Token {
            registry: self.registry(),
            realm: realm.to_owned(),
            problem: problem.to_owned(),
        };
        // A password that goes to the registry by TLS does not go elsewhere without.
        if self.base.starts_with("https:") && !realm.starts_with("https:") {
            return Err(nonsense("it does not speak TLS, but the registry does"));
        }
        let service = service.map(|service| ("service", service));
        let scope = self.scopes.join(" ");
        let request = match &self.credentials.identity {
            Some(identity) => {
                let words = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", identity),
                    ("client_id", CLIENT_ID),
                    ("scope", &scope),
                ];
                let words: Vec<_> = words.into_iter().chain(service).collect();
                self.http.post(realm).form(&words)
            }
            None => {
                let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
                let words: Vec<_> = scopes.chain(service).collect();
                let request = self.http.get(realm).query(&words);
                match &self.credentials.auth {
                    RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
                    _ => request,
                }
            }
        };
        let mut response = request.send().await.map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            return Err(self.refused(act, response).await);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(nonsense("it says too much"));
            }
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| nonsense("its answer is no JSON"))?;
        let token = answer.token.or(answer.access_token);
        token.ok_or_else(|| nonsense("its answer has no token"))
    }
}

/// The first challenge that can be met (RFC 9110 section 11.6.1); tokens before passwords.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter();
    let challenges: Vec<Challenge> = texts
        .filter_map(|text| parse_challenges(text.to_str().ok()?).ok())
        .flat_map(|challenges| challenges.iter().filter_map(understood).collect::<Vec<_>>())
        .collect();
    let is_bearer = |challenge: &Challenge| matches!(challenge, Challenge::Bearer { .. });
    let bearer = challenges.iter().position(is_bearer);
    challenges.into_iter().nth(bearer.unwrap_or(0))
}

fn understood(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let mut all = challenge.params.iter();
        let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    match challenge.scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

    use super::{Challenge, challenge};

    #[test]
    fn tokens_come_before_passwords() {
        let bearer = Some(Challenge::Bearer {
            realm: "https://auth.example.org/token".to_owned(),
            service: Some("registry".to_owned()),
        });
        let text =
            r#"Bearer realm="https://auth.example.org/token",service="registry",scope="repository:a:pull""#;
        let cases = [
            (vec![], None),
            (vec!["Negotiate"], None),
            (vec!["Bearer service=\"registry\""], None),
            (vec!["basic realm=\"here\""], Some(Challenge::Basic)),
            (vec![text], bearer),
        ];
        for (texts, expected) in cases {
            assert_eq!(challenge(&headers(&texts)), expected, "{texts:?}");
        }
        let both = challenge(&headers(&["Basic realm=\"here\"", text]));
        assert!(matches!(both, Some(Challenge::Bearer { .. })), "{both:?}");
    }

    fn headers(texts: &[&'static str]) -> HeaderMap {
        let values = texts
            .iter()
            .map(|text| (WWW_AUTHENTICATE, HeaderValue::from_static(text)));
        values.collect()
    }
}
