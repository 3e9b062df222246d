//! HTTP with one registry, with the credentials for it.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::{OnceCell, RwLock};

use super::Options;
use super::auth::{Authorization, Challenge, TokenRequest, merge_scopes};
use crate::http::{ClientOptions, Credential, Credentials, Hints, HttpError, Redirects, Server, one_line};
use crate::reference::Reference;

/// The host that serves the registry API of Docker Hub.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
const HINTS: Hints = Hints {
    unreachable: "",
    tls: " over TLS; use `--plain-http` if it has none, or `--ca-file` if it has its own certificate authority",
    expired: " over TLS; renew its certificate, or correct the clock of this host",
    not_found: "check the reference, and that it was published",
};
/// Follows "not found; " in answers to a publish.
const NO_REPOSITORY: &str =
    "check the reference, and create the repository if the registry does not do so itself";

/// A client of one registry.
pub(super) struct Client {
    pub(super) options: ClientOptions,
    http: reqwest::Client,
    /// For uploads, made when first needed.
    streaming: OnceCell<reqwest::Client>,
    /// `SCHEME://HOST[:PORT]`
    base: String,
    /// Do without TLS, or accept any certificate.
    is_insecure: bool,
    pub(super) server: Server,
    credentials: Credentials,
    only_reads: bool,
    /// The rights to request in tokens: `repository:NAME:pull,push` (distribution, "Token Scope Documentation").
    scopes: Vec<String>,
    authorization: RwLock<Option<Authorization>>,
}

/// A request with a short body or none.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Starts with `/v2/`.
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// In error messages: "read the manifest of `REFERENCE`".
    pub(super) action: &'a str,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, path: &'a str, action: &'a str) -> Self {
        Self {
            method,
            path,
            headers: HeaderMap::new(),
            body: Vec::new(),
            action,
        }
    }
}

impl Client {
    /// Prepares a client; no request is sent, unless `is_insecure` requires finding out if there is TLS.
    pub(super) async fn new(
        reference: &Reference,
        options: &Options,
        is_insecure: bool,
        scopes: Vec<String>,
    ) -> Result<Self, HttpError> {
        let registry = reference.registry();
        let scheme = if options.plain_http { "http" } else { "https" };
        let host = if registry == DOCKER_HUB.0 {
            DOCKER_HUB.1
        } else {
            registry
        };
        let only_reads = scopes.iter().all(|scope| scope.ends_with(":pull"));
        let credentials = Credentials::find(registry, Some(reference.repository()), options.timeout).await;
        let credentials = match credentials {
            // Most of what is read is public.
            Err(error) if only_reads && error.is_credential() => {
                tracing::warn!("{}; reading without a credential", one_line(&error));
                Credentials::unusable(&error)
            }
            credentials => credentials?,
        };
        let mut hints = HINTS;
        if !only_reads {
            hints.not_found = NO_REPOSITORY;
        }
        let http = options.http();
        let mut client = Self {
            http: http.build(Redirects::Follow, is_insecure)?,
            options: http,
            streaming: OnceCell::new(),
            base: format!("{scheme}://{host}"),
            is_insecure,
            server: Server {
                name: format!("the registry `{registry}`"),
                credentials: credentials.to_string(),
                hints,
            },
            only_reads,
            credentials,
            scopes,
            authorization: RwLock::new(None),
        };
        client.fall_back_to_http().await;
        Ok(client)
    }

    /// Does without TLS if that is allowed and the registry has none.
    async fn fall_back_to_http(&mut self) {
        if let Some(host) = self.base.strip_prefix("https://").filter(|_| self.is_insecure)
            && self.http.get(format!("{}/v2/", self.base)).send().await.is_err()
        {
            self.base = format!("http://{host}");
        }
    }

    /// Sends a request, after answering the registry's challenge if need be. The answer is one of success.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        let used = self.authorization.read().await.clone();
        let response = self.send_with(&request, used.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            return self.server.check(response, request.action).await;
        }
        let authorization = self.authorize(used, response, request.action).await?;
        let response = self.send_with(&request, authorization.as_ref()).await?;
        self.server.check(response, request.action).await
    }

    /// Sends a body that cannot be sent twice. The answer is one of success or a redirect. After a challenge, which is
    /// answered for the next attempt, the error is [`HttpError::Denied`] with status 401.
    pub(super) async fn put_stream(
        &self,
        url: Url,
        body: Body,
        headers: HeaderMap,
        action: &str,
    ) -> Result<Response, HttpError> {
        let streaming = || async { self.options.build(Redirects::Report, self.is_insecure) };
        let http = self.streaming.get_or_try_init(streaming).await?;
        let used = self.authorization.read().await.clone();
        let is_own = self.is_own(&url);
        let request = http.put(url).headers(headers).body(body);
        let request = authorized(request, used.as_ref().filter(|_| is_own));
        let response = request
            .send()
            .await
            .map_err(|error| self.server.unreachable(error))?;
        if response.status().is_redirection() && response.headers().contains_key(LOCATION) {
            return Ok(response);
        }
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return self.server.check(response, action).await;
        }
        let denied = HttpError::Denied {
            server: self.server.name.clone(),
            action: action.to_owned(),
            status: StatusCode::UNAUTHORIZED.as_u16(),
            message: String::new(),
            credentials: self.server.credentials.clone(),
        };
        self.authorize(used, response, action).await?;
        Err(denied)
    }

    async fn send_with(
        &self,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, HttpError> {
        let url = format!("{}{}", self.base, request.path);
        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .headers(request.headers.clone());
        if request.method != Method::GET && request.method != Method::HEAD {
            builder = builder.body(request.body.clone());
        }
        // The HTTP client drops the header when a redirect leads to another host or port.
        let sent = authorized(builder, authorization).send().await;
        sent.map_err(|error| self.server.unreachable(error))
    }

    /// Answers the challenge of a request that was refused with the authorization `used`. Requests that are refused at the
    /// same time wait here and share the answer.
    async fn authorize(
        &self,
        used: Option<Authorization>,
        response: Response,
        action: &str,
    ) -> Result<Option<Authorization>, HttpError> {
        let mut current = self.authorization.write().await;
        if *current != used {
            return Ok(current.clone());
        }
        let challenge = match Challenge::parse(response.headers()) {
            Some(challenge) => Some(challenge),
            None => self.general_challenge().await?,
        };
        *current = match (challenge, &self.credentials.credential) {
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => {
                let mut request = TokenRequest {
                    http: &self.http,
                    options: &self.options,
                    registry: &self.server,
                    registry_has_tls: self.base.starts_with("https:"),
                    credential: self.credentials.credential.as_ref(),
                    realm: &realm,
                    service: service.as_deref(),
                    scopes: merge_scopes(&self.scopes, scope.as_deref()),
                };
                match request.send().await {
                    // An expired credential is no reason not to read what is public.
                    Err(refused @ HttpError::Denied { .. })
                        if self.only_reads && request.credential.is_some() =>
                    {
                        request.credential = None;
                        let token = request.send().await.map_err(|_| refused)?;
                        tracing::warn!(
                            "the token server `{realm}` refuses the credential for {}; reading without it",
                            self.server.name
                        );
                        Some(token)
                    }
                    token => Some(token?),
                }
            }
            (Some(Challenge::Basic), Some(Credential::Password { user, password })) => {
                Some(Authorization::Basic {
                    user: user.clone(),
                    password: password.clone(),
                })
            }
            (Some(Challenge::Basic), _) => return Err(self.server.refused(response, action).await),
            // Nothing can be answered; the request gets a second chance as it was.
            (None, _) => used,
        };
        Ok(current.clone())
    }

    /// The challenge of the registry as a whole, for requests that were refused without one.
    async fn general_challenge(&self) -> Result<Option<Challenge>, HttpError> {
        let response = self.http.get(format!("{}/v2/", self.base)).send().await;
        let response = response.map_err(|error| self.server.unreachable(error))?;
        Ok(Challenge::parse(response.headers()).filter(|_| response.status() == StatusCode::UNAUTHORIZED))
    }

    fn is_own(&self, url: &Url) -> bool {
        Url::parse(&self.base).is_ok_and(|base| base.origin() == url.origin())
    }
}

fn authorized(request: RequestBuilder, authorization: Option<&Authorization>) -> RequestBuilder {
    match authorization {
        Some(authorization) => authorization.apply(request),
        None => request,
    }
}
