//! Direct access to a cluster's database.
//!
//! A thaw writes through it what must be there before the API server serves requests. Admission control (webhooks, policies,
//! quotas) cannot reject these writes. The API server learns of them as of any other change.
//!
//! Requests go to etcd's JSON gateway (etcd, `api/etcdserverpb/rpc.proto`, service `KV`), which etcd 3.4 and newer serve under
//! `/v3`. Integers of 64 bits are strings in JSON, keys and values are base64.

pub(crate) mod stored_object;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::client::connect;
use crate::api::response::request_failed;
use crate::error::{Answer, Error};

/// The port on which etcd serves clients.
pub const CLIENT_PORT: u16 = 2379;
/// etcd's limit is 128 operations in one transaction.
const MAX_CHANGES: usize = 100;

/// A client of etcd.
pub struct Etcd(Client);

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// The revision of its last change.
    revision: String,
}

/// A change of one key. It fails if another client changes the key in the meantime.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    key: String,
    /// The new value; `None` to delete the key.
    value: Option<Vec<u8>>,
    /// The last change of the present value; `None` if there is none.
    revision: Option<String>,
}

impl Change {
    pub(crate) fn create(key: String, value: Vec<u8>) -> Self {
        Self {
            key,
            value: Some(value),
            revision: None,
        }
    }

    pub(crate) fn replace(entry: &Entry, value: Vec<u8>) -> Self {
        Self {
            key: entry.key.clone(),
            value: Some(value),
            revision: Some(entry.revision.clone()),
        }
    }

    pub(crate) fn delete(entry: &Entry) -> Self {
        Self {
            key: entry.key.clone(),
            value: None,
            revision: Some(entry.revision.clone()),
        }
    }
}

impl Etcd {
    /// Creates a client from the text of a kubeconfig, whose server is etcd. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`] or [`Error::Client`].
    pub async fn connect(kubeconfig: &str) -> Result<Self, Error> {
        Ok(Self(connect(kubeconfig).await?))
    }

    /// The entries of `keys` that exist.
    pub(crate) async fn get(&self, keys: &[String]) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        for keys in keys.chunks(MAX_CHANGES) {
            let requests: Vec<Value> = keys
                .iter()
                .map(|key| json!({ "requestRange": { "key": STANDARD.encode(key) } }))
                .collect();
            let committed: Committed = self.request("txn", &json!({ "success": requests })).await?;
            for response in committed.responses {
                found.extend(response.range.entries()?);
            }
        }
        Ok(found)
    }

    /// All entries whose key starts with `prefix`, which ends with a slash.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        // The first key after all of them: the slash is followed by `0`.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let range = json!({ "key": STANDARD.encode(prefix), "rangeEnd": STANDARD.encode(end) });
        self.request::<Range>("range", &range).await?.entries()
    }

    /// Makes the changes, a hundred of them at a time.
    ///
    /// # Errors
    /// A request failed, or a key was changed meanwhile.
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        for changes in changes.chunks(MAX_CHANGES) {
            let compare: Vec<Value> = changes.iter().map(comparison).collect();
            let success: Vec<Value> = changes.iter().map(operation).collect();
            let transaction = json!({ "compare": compare, "success": success });
            let committed: Committed = self.request("txn", &transaction).await?;
            if !committed.succeeded {
                return Err(failed("a key was changed meanwhile"));
            }
        }
        Ok(())
    }

    async fn request<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, Error> {
        let request = http::Request::post(format!("/v3/kv/{method}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| failed(&error.to_string()))?;
        let answer = self.0.request(request).await;
        answer.map_err(request_failed(ACT))
    }
}

const ACT: &str = "access the cluster's database";

fn failed(answer: &str) -> Error {
    Error::Api {
        act: ACT.to_owned(),
        answer: Answer(answer.to_owned()),
    }
}

fn comparison(change: &Change) -> Value {
    let key = STANDARD.encode(&change.key);
    match &change.revision {
        Some(revision) => json!({ "key": key, "target": "MOD", "result": "EQUAL", "modRevision": revision }),
        None => json!({ "key": key, "target": "CREATE", "result": "EQUAL", "createRevision": "0" }),
    }
}

fn operation(change: &Change) -> Value {
    let key = STANDARD.encode(&change.key);
    match &change.value {
        Some(value) => json!({ "requestPut": { "key": key, "value": STANDARD.encode(value) } }),
        None => json!({ "requestDeleteRange": { "key": key } }),
    }
}

/// The answer to a transaction. Fields with the default value are left out of JSON.
#[derive(Deserialize)]
struct Committed {
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default, rename = "response_range", alias = "responseRange")]
    range: Range,
}

#[derive(Default, Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(alias = "modRevision")]
    mod_revision: String,
}

impl Range {
    fn entries(self) -> Result<Vec<Entry>, Error> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| failed(&error.to_string()));
        let entry = |found: KeyValue| {
            Ok(Entry {
                key: String::from_utf8_lossy(&decode(&found.key)?).into_owned(),
                value: decode(&found.value)?,
                revision: found.mod_revision,
            })
        };
        self.kvs.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
