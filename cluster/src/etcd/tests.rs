use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Change, Etcd};
use crate::api::test_server::TestServer;

/// A database in memory that speaks as much of etcd's JSON as [`Etcd`] uses.
#[derive(Clone, Default)]
pub(crate) struct TestEtcd(Arc<Mutex<Data>>);

#[derive(Default)]
struct Data {
    revision: u64,
    /// Values with the revision of their last change.
    values: BTreeMap<String, (Vec<u8>, u64)>,
}

impl TestEtcd {
    pub(crate) fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        let mut data = self.0.lock().unwrap();
        data.revision += 1;
        let revision = data.revision;
        data.values.insert(key.to_owned(), (value.into(), revision));
    }

    pub(crate) fn value(&self, key: &str) -> Option<Vec<u8>> {
        let data = self.0.lock().unwrap();
        data.values.get(key).map(|(value, _)| value.clone())
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().values.keys().cloned().collect()
    }

    pub(crate) async fn client(&self) -> Etcd {
        let data = Arc::clone(&self.0);
        let server = TestServer::with_bodies(move |method, path, body| {
            let mut data = data.lock().unwrap();
            match (method, path) {
                ("POST", "/v3/kv/range") => (200, data.range(body)),
                ("POST", "/v3/kv/txn") => (200, data.transaction(body)),
                _ => (404, json!({})),
            }
        });
        Etcd::connect(&server.kubeconfig()).await.unwrap()
    }
}

impl Data {
    fn range(&self, request: &Value) -> Value {
        let from = text(&request["key"]);
        let end = request.get("rangeEnd").map_or_else(|| format!("{from}\0"), text);
        let found = self.values.range(from..end);
        let entry = |(key, (value, revision)): (&String, &(Vec<u8>, u64))| json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value), "mod_revision": revision.to_string() });
        let found: Vec<Value> = found.map(entry).collect();
        // As etcd, which leaves empty lists out.
        if found.is_empty() {
            json!({})
        } else {
            json!({ "kvs": found })
        }
    }

    fn transaction(&mut self, request: &Value) -> Value {
        let compare = request["compare"].as_array().cloned().unwrap_or_default();
        let holds = |compare: &Value| {
            let revision = self
                .values
                .get(&text(&compare["key"]))
                .map_or(0, |(_, revision)| *revision);
            let expected = compare.get("modRevision").unwrap_or(&compare["createRevision"]);
            *expected == json!(revision.to_string())
        };
        if !compare.iter().all(holds) {
            return json!({});
        }
        self.revision += 1;
        let mut responses = Vec::new();
        for operation in request["success"].as_array().unwrap() {
            if let Some(put) = operation.get("requestPut") {
                let value = STANDARD.decode(put["value"].as_str().unwrap()).unwrap();
                self.values.insert(text(&put["key"]), (value, self.revision));
            } else if let Some(delete) = operation.get("requestDeleteRange") {
                self.values.remove(&text(&delete["key"]));
            } else {
                responses.push(json!({ "response_range": self.range(&operation["requestRange"]) }));
            }
        }
        json!({ "succeeded": true, "responses": responses })
    }
}

fn text(base64: &Value) -> String {
    String::from_utf8(STANDARD.decode(base64.as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn only_keys_below_the_prefix_are_listed() {
    let database = TestEtcd::default();
    for key in ["/a/b/1", "/a/b/2", "/a/bc", "/a/c/1"] {
        database.put(key, key);
    }
    let etcd = database.client().await;
    let keys = |entries: Vec<super::Entry>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(etcd.list("/a/b/").await.unwrap()), ["/a/b/1", "/a/b/2"]);
    assert!(etcd.list("/none/").await.unwrap().is_empty());
    let some = ["/a/c/1", "/none"].map(str::to_owned);
    assert_eq!(keys(etcd.get(&some).await.unwrap()), ["/a/c/1"]);
}

#[tokio::test]
async fn more_changes_than_a_transaction_may_have_are_made() {
    let database = TestEtcd::default();
    let changes: Vec<Change> = (0..250)
        .map(|number| Change::create(format!("/k/{number}"), b"v".to_vec()))
        .collect();
    database.client().await.commit(&changes).await.unwrap();
    assert_eq!(database.keys().len(), 250);
}

#[tokio::test]
async fn concurrent_change_is_not_overwritten() {
    let database = TestEtcd::default();
    database.put("/k", "old");
    let etcd = database.client().await;
    let entry = etcd.list("/").await.unwrap().remove(0);
    database.put("/k", "concurrent");
    let error = etcd
        .commit(&[Change::replace(&entry, b"mine".to_vec())])
        .await
        .unwrap_err();
    assert_eq!(
        error.line(),
        "could not access the cluster's database: a key was changed meanwhile"
    );
    assert!(
        etcd.commit(&[Change::create("/k".to_owned(), Vec::new())])
            .await
            .is_err()
    );
    assert!(etcd.commit(&[Change::delete(&entry)]).await.is_err());
    assert_eq!(database.value("/k").unwrap(), b"concurrent");
}
