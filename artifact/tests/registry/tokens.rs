//! Registries with a token server (distribution, "Token Authentication Specification"), and credential helpers.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use reqwest::Url;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::child::{command, ended, run};
use crate::fixture::TestStore;
use crate::proxy::{Fault, Proxy, length, read_head};
use crate::server::Server;

/// The credentials that the token server accepts.
const PASSWORD: &str = "me:secret";
const IDENTITY: &str = "identity-1";

/// A running token server.
struct TokenServer {
    address: SocketAddr,
    signer: Arc<Signer>,
    /// The scopes of each request, separated by spaces.
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// Starts a server whose first `failures` answers are errors.
    fn start(failures: usize) -> Self {
        Self::start_with(failures, false)
    }

    /// With `is_public`, a request without credentials gets a token to pull; one with a wrong password is refused.
    fn start_with(failures: usize, is_public: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (signer, asked) = (Arc::new(Signer::new()), Arc::<Mutex<Vec<String>>>::default());
        let (signing, noting) = (Arc::clone(&signer), Arc::clone(&asked));
        spawn(move || {
            for client in listener.incoming().flatten() {
                // An error means that the client has closed the connection.
                let _ = answer(&client, &signing, &noting, failures, is_public);
            }
        });
        Self {
            address,
            signer,
            asked,
        }
    }

    /// Starts a registry that accepts its tokens.
    fn registry(&self, dir: &TestStore) -> Server {
        let file = dir.dir.path().join("trusted.pem");
        fs::write(&file, &self.signer.pem).unwrap();
        Server::with(&json!({"auth": {"token": {
            "realm": format!("http://{}/token", self.address),
            "service": "tests",
            "issuer": "tests",
            "rootcertbundle": file,
        }}}))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    mut client: &TcpStream,
    signer: &Signer,
    asked: &Mutex<Vec<String>>,
    failures: usize,
    is_public: bool,
) -> io::Result<()> {
    let mut from = BufReader::new(client);
    let head = read_head(&mut from)?;
    let mut body = String::new();
    from.take(length(&head).unwrap_or(0)).read_to_string(&mut body)?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let query = if body.is_empty() {
        target.split_once('?').unwrap_or_default().1
    } else {
        &body
    };
    let url = Url::parse(&format!("http://tests/?{query}")).unwrap();
    let get = |name: &str| -> Vec<String> {
        let pairs = url.query_pairs().filter(|(key, _)| key == name);
        pairs.map(|(_, value)| value.into_owned()).collect()
    };
    let scopes = get("scope").join(" ");
    let number = {
        let mut asked = asked.lock().unwrap();
        asked.push(scopes.clone());
        asked.len()
    };
    let password = format!("authorization: Basic {}", STANDARD.encode(PASSWORD));
    let known = match head.starts_with("POST ") {
        true => get("grant_type") == ["refresh_token"] && get("refresh_token") == [IDENTITY],
        false => {
            let is_anonymous = !head.contains("authorization:") && scopes.ends_with(":pull");
            head.contains(&password) || (is_public && is_anonymous)
        }
    };
    let (status, answer) = if number <= failures {
        ("503 No", json!({}))
    } else if !known || get("service") != ["tests"] {
        (
            "401 No",
            json!({"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}),
        )
    } else if head.starts_with("POST ") {
        ("200 Yes", json!({"access_token": signer.token(&scopes)}))
    } else {
        let token = signer.token(&scopes);
        (
            "200 Yes",
            // Some servers send an empty one of both.
            json!({"token": "", "access_token": token, "expires_in": 300}),
        )
    };
    let answer = answer.to_string();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// Signs tokens (RFC 7519; RFC 7518 section 3.4: ES256).
struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&pair).unwrap();
        let der = pair.serialize_der();
        let random = SystemRandom::new();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap(),
            certificate: STANDARD.encode(certificate.der()),
            pem: certificate.pem(),
        }
    }

    /// A token for `scopes`, separated by spaces.
    fn token(&self, scopes: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let access: Vec<Value> = scopes
            .split_whitespace()
            .map(|scope| {
                let parts: Vec<_> = scope.split(':').collect();
                let actions: Vec<_> = parts[2].split(',').collect();
                json!({"type": parts[0], "name": parts[1], "actions": actions})
            })
            .collect();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": "tests", "sub": "me", "aud": "tests", "jti": "1",
            "nbf": now - 10, "iat": now, "exp": now + 300, "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn with_password(server: &Server, password: &str) -> String {
    json!({"auths": {&server.address: {"auth": STANDARD.encode(password)}}}).to_string()
}

fn round_trip(server: &Server, source: &TestStore, auths: &str) {
    let (reference, target) = (server.reference("closed/small").to_string(), TestStore::empty());
    run(&["publish", &reference], source.dir.path(), auths).unwrap();
    run(&["pull", &reference], target.dir.path(), auths).unwrap();
    target.assert_intact();
}

#[test]
fn password_and_identity_token_are_exchanged_for_a_token() {
    let (tokens, source) = (TokenServer::start(0), TestStore::with_artifact());
    let server = tokens.registry(&source);
    round_trip(&server, &source, &with_password(&server, PASSWORD));
    let identity = json!({"auths": {&server.address: {"identitytoken": IDENTITY}}});
    round_trip(&server, &source, &identity.to_string());
    let asked = tokens.asked();
    for scope in [
        "repository:closed/small:pull",
        "repository:closed/small:pull,push",
    ] {
        assert!(asked.iter().any(|asked| asked == scope), "{asked:?}");
    }
}

#[test]
fn token_for_both_repositories_allows_mounting() {
    let (tokens, source, target) = (
        TokenServer::start(0),
        TestStore::with_artifact(),
        TestStore::empty(),
    );
    let server = tokens.registry(&source);
    let proxy = Proxy::start(&server.address, |_| Fault::None);
    let auths = json!({"auths": {proxy.address(): {"auth": STANDARD.encode(PASSWORD)}}}).to_string();
    let [origin, copy] = ["closed/small", "open/copy"].map(|name| proxy.reference(name).to_string());
    run(&["publish", &origin], source.dir.path(), &auths).unwrap();
    run(&["pull", &origin], target.dir.path(), &auths).unwrap();
    let before = proxy.seen().len();
    run(&["publish", &copy], target.dir.path(), &auths).unwrap();
    let seen = &proxy.seen()[before..];
    let sent = seen
        .iter()
        .filter(|request| request.kind() == "upload" && request.method != "POST");
    assert_eq!(sent.count(), 0);
    let asked = tokens.asked();
    let both = "repository:open/copy:pull,push repository:closed/small:pull";
    assert!(asked.iter().any(|asked| asked == both), "{asked:?}");
}

#[test]
fn unknown_users_are_refused() {
    let (tokens, source) = (TokenServer::start(0), TestStore::with_artifact());
    let server = tokens.registry(&source);
    let reference = server.reference("closed/small").to_string();
    let identity = json!({"auths": {&server.address: {"identitytoken": "identity-2"}}}).to_string();
    for auths in ["{}", &with_password(&server, "me:wrong"), &identity] {
        for what in ["publish", "pull"] {
            let error = run(&[what, &reference], source.dir.path(), auths).unwrap_err();
            assert!(error.contains("status 401 (who are you?)"), "{error}");
            let hint = if auths == "{}" {
                "no credential was found"
            } else {
                "the credential in"
            };
            assert!(error.contains(hint), "{error}");
        }
    }
}

#[test]
fn refused_credential_does_not_prevent_reading_what_is_public() {
    let (tokens, source, target) = (
        TokenServer::start_with(0, true),
        TestStore::with_artifact(),
        TestStore::empty(),
    );
    let server = tokens.registry(&source);
    let reference = server.reference("open/small").to_string();
    run(
        &["publish", &reference],
        source.dir.path(),
        &with_password(&server, PASSWORD),
    )
    .unwrap();
    let expired = with_password(&server, "me:expired");
    run(&["pull", &reference], target.dir.path(), &expired).unwrap();
    target.assert_intact();
    let error = run(&["publish", &reference], source.dir.path(), &expired).unwrap_err();
    assert!(
        error.contains("status 401 (who are you?); the credential in"),
        "{error}"
    );
}

#[test]
fn temporary_failure_of_the_token_server_is_retried() {
    let (tokens, source) = (TokenServer::start(2), TestStore::with_artifact());
    let server = tokens.registry(&source);
    round_trip(&server, &source, &with_password(&server, PASSWORD));
    let (broken, source) = (TokenServer::start(usize::MAX), TestStore::with_artifact());
    let server = broken.registry(&source);
    let arguments = ["pull", &server.reference("closed/small").to_string()];
    let error = run(
        &arguments,
        TestStore::empty().dir.path(),
        &with_password(&server, PASSWORD),
    )
    .unwrap_err();
    assert!(error.contains("status 503"), "{error}");
}

/// The protocol is that of docker-credential-helpers, "Usage".
#[test]
fn credential_helper_is_used() {
    let (tokens, source) = (TokenServer::start(0), TestStore::with_artifact());
    let server = tokens.registry(&source);
    let reference = server.reference("closed/small").to_string();
    let auths = json!({"credHelpers": {&server.address: "tests"}}).to_string();
    let bin = source.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let helper = |answer: &str| {
        let script = format!(
            "#!/bin/sh\ntest \"$1\" = get && test \"$(cat)\" = {} || exit 9\n{answer}\n",
            server.address
        );
        let file = bin.join("docker-credential-tests");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        ended(
            &command(&["publish", &reference], source.dir.path(), &auths)
                .env("PATH", &path)
                .output()
                .unwrap(),
        )
    };
    helper(r#"echo '{"ServerURL":"","Username":"me","Secret":"secret"}'"#).unwrap();
    helper(&format!(
        r#"echo '{{"ServerURL":"","Username":"<token>","Secret":"{IDENTITY}"}}'"#
    ))
    .unwrap();
    let none = helper("echo 'credentials not found in native keychain'; exit 1").unwrap_err();
    assert!(none.contains("no credential was found"), "{none}");
    let locked = helper("echo 'the keychain is locked'; exit 1").unwrap_err();
    assert!(locked.contains("the keychain is locked"), "{locked}");
    let invalid = helper("echo me:secret").unwrap_err();
    assert!(invalid.contains("did not print a credential"), "{invalid}");
    let start = Instant::now();
    let blocked = helper("exec sleep 60").unwrap_err();
    assert!(blocked.contains("did not answer within 5 s"), "{blocked}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    fs::remove_dir_all(&bin).unwrap();
    let missing = run(&["publish", &reference], source.dir.path(), &auths).unwrap_err();
    assert!(
        missing.contains("`docker-credential-tests` is not installed"),
        "{missing}"
    );
}
