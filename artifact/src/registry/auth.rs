//! Authentication: answering the challenge of a refused request with a password (RFC 7617), or with a token that a token
//! server issues for it (distribution, "Token Authentication Specification" and "OAuth2 Token Authentication").

use http_auth::{ChallengeRef, parse_challenges};
use reqwest::RequestBuilder;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::time;

use crate::http::{ClientOptions, Credential, HttpError, Redirects, Server};

/// The largest answer of a token server that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// The name of this client for token servers that record one (OAuth2).
const CLIENT_ID: &str = "parbake";

/// The answer to a challenge, which all later requests carry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

/// A registry's demand for authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        /// The rights that the refused request needs, as `TYPE:NAME:ACTION,...`, separated by spaces.
        scope: Option<String>,
    },
}

/// The answer of a token server. Both names are in use, and some servers send both.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Authorization {
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { user, password } => request.basic_auth(user, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Challenge {
    /// The first challenge that can be answered (RFC 9110 section 11.6.1), preferably with a token.
    pub(super) fn parse(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<Self> = texts
            .filter_map(|text| parse_challenges(text.to_str().ok()?).ok())
            .flat_map(|challenges| challenges.iter().filter_map(Self::from_ref).collect::<Vec<_>>())
            .collect();
        let bearer = challenges
            .iter()
            .position(|challenge| matches!(challenge, Self::Bearer { .. }));
        challenges.into_iter().nth(bearer.unwrap_or(0))
    }

    fn from_ref(challenge: &ChallengeRef<'_>) -> Option<Self> {
        let parameter = |name: &str| {
            let mut all = challenge.params.iter();
            let found = all.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        match challenge.scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer {
                realm: parameter("realm")?,
                service: parameter("service"),
                scope: parameter("scope"),
            }),
            _ => None,
        }
    }
}

/// A request to a token server.
pub(super) struct TokenRequest<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) options: &'a ClientOptions,
    pub(super) registry: &'a Server,
    pub(super) registry_has_tls: bool,
    /// Without it, the token is for anybody.
    pub(super) credential: Option<&'a Credential>,
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: Vec<String>,
}

impl TokenRequest<'_> {
    /// Gets a token for all scopes.
    pub(super) async fn send(&self) -> Result<Authorization, HttpError> {
        // A password for a registry with TLS must not be sent without it.
        if self.registry_has_tls && !self.realm.starts_with("https:") {
            return Err(self.failed("the registry uses TLS, but its token server does not"));
        }
        let server = Server {
            name: format!("the token server `{}` of {}", self.realm, self.registry.name),
            ..self.registry.clone()
        };
        let action = "issue a token";
        let request = self.request()?.send();
        let response = time::timeout(self.options.read_timeout, request).await;
        let response = response
            .map_err(|_| server.timed_out(action))?
            .map_err(|error| server.unreachable(error))?;
        let response = server.check(response, action).await?;
        let body = server.read(response, "a token", action, MAX_ANSWER).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| self.failed("its answer is not valid JSON"))?;
        let mut tokens = [answer.token, answer.access_token].into_iter().flatten();
        let token = tokens.find(|token| !token.is_empty());
        token
            .map(Authorization::Bearer)
            .ok_or_else(|| self.failed("its answer has no token"))
    }

    fn request(&self) -> Result<RequestBuilder, HttpError> {
        let service = self.service.map(|service| ("service", service));
        if let Some(Credential::IdentityToken(identity)) = self.credential {
            let scope = self.scopes.join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", identity),
                ("client_id", CLIENT_ID),
                ("scope", &scope),
            ];
            let form: Vec<_> = form.into_iter().chain(service).collect();
            // A redirect would take the token in the form along to another host.
            let http = self.options.build(Redirects::Report, false)?;
            return Ok(http.post(self.realm).form(&form));
        }
        let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
        let query: Vec<_> = scopes.chain(service).collect();
        let request = self.http.get(self.realm).query(&query);
        Ok(match self.credential {
            Some(Credential::Password { user, password }) => request.basic_auth(user, Some(password)),
            _ => request,
        })
    }

    fn failed(&self, problem: &str) -> HttpError {
        HttpError::Token {
            server: self.registry.name.clone(),
            realm: self.realm.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// `own`, and those of the space-separated `requested` scopes that are not part of them.
pub(super) fn merge_scopes(own: &[String], requested: Option<&str>) -> Vec<String> {
    let missing = requested.into_iter().flat_map(str::split_whitespace);
    let missing = missing.filter(|scope| !own.iter().any(|own| covers(own, scope)));
    own.iter().cloned().chain(missing.map(str::to_owned)).collect()
}

fn covers(own: &str, requested: &str) -> bool {
    match (own.rsplit_once(':'), requested.rsplit_once(':')) {
        (Some((own, has)), Some((requested, wants))) => {
            own == requested
                && wants
                    .split(',')
                    .all(|action| has.split(',').any(|other| other == action))
        }
        _ => own == requested,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

    use super::{Challenge, merge_scopes};

    #[test]
    fn bearer_challenge_comes_before_basic() {
        let bearer = Some(Challenge::Bearer {
            realm: "https://auth.example.org/token".to_owned(),
            service: Some("registry".to_owned()),
            scope: Some("repository:a:pull".to_owned()),
        });
        let text =
            r#"Bearer realm="https://auth.example.org/token",service="registry",scope="repository:a:pull""#;
        let both = r#"Basic realm="here", Bearer realm="https://auth.example.org/token",service="registry",scope="repository:a:pull""#;
        let cases = [
            (vec![], None),
            (vec!["Negotiate"], None),
            (vec!["Bearer service=\"registry\""], None),
            (vec!["basic realm=\"here\""], Some(Challenge::Basic)),
            (vec!["Basic"], Some(Challenge::Basic)),
            (
                vec!["Negotiate, Basic realm=\"with spaces, and a comma\""],
                Some(Challenge::Basic),
            ),
            (
                vec!["Bearer service=\"registry\"", "Basic realm=\"here\""],
                Some(Challenge::Basic),
            ),
            (vec![both], bearer.clone()),
            (vec![text], bearer),
        ];
        for (texts, expected) in cases {
            assert_eq!(Challenge::parse(&headers(&texts)), expected, "{texts:?}");
        }
        let both = Challenge::parse(&headers(&["Basic realm=\"here\"", text]));
        assert!(matches!(both, Some(Challenge::Bearer { .. })), "{both:?}");
    }

    fn headers(texts: &[&'static str]) -> HeaderMap {
        let values = texts
            .iter()
            .map(|text| (WWW_AUTHENTICATE, HeaderValue::from_static(text)));
        values.collect()
    }

    #[test]
    fn requested_scopes_are_added_unless_covered() {
        let own = ["repository:a:pull,push".to_owned()];
        let cases = [
            (None, vec!["repository:a:pull,push"]),
            (Some("repository:a:push"), vec!["repository:a:pull,push"]),
            (
                Some("repository:a:pull repository:b:pull"),
                vec!["repository:a:pull,push", "repository:b:pull"],
            ),
            (
                Some("repository:a:delete"),
                vec!["repository:a:pull,push", "repository:a:delete"],
            ),
        ];
        for (requested, expected) in cases {
            assert_eq!(merge_scopes(&own, requested), expected, "{requested:?}");
        }
    }
}
