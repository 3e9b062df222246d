//! Proxies from the environment.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use crate::child::{command, ended};
use crate::fixture::TestStore;
use crate::proxy::read_head;
use crate::server::Server;

/// An HTTP proxy that answers 404, and the request lines that it received.
fn http_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let recorded = Arc::clone(&seen);
    spawn(move || {
        for client in listener.incoming().flatten() {
            let mut from = std::io::BufReader::new(&client);
            if let Ok(head) = read_head(&mut from) {
                recorded
                    .lock()
                    .unwrap()
                    .push(head.lines().next().unwrap_or_default().to_owned());
                let _ =
                    (&client).write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_is_used_except_for_loopback_addresses() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    source.publish(&server.reference("small")).await.unwrap();
    let (proxy, seen) = http_proxy();
    let pull = |reference: &str, no_proxy: &str| {
        let mut command = command(&["pull", reference], target.dir.path(), "{}");
        command.env_remove("no_proxy").env("NO_PROXY", no_proxy);
        command.env("HTTP_PROXY", &proxy).env("ALL_PROXY", &proxy);
        ended(&command.output().unwrap())
    };
    let port = server.address.rsplit(':').next().unwrap();
    for host in [server.address.clone(), format!("localhost:{port}")] {
        pull(&format!("{host}/small"), "").unwrap();
    }
    target.assert_intact();
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
    let error = pull("registry.invalid/small", "other.invalid").unwrap_err();
    assert!(error.contains("not found"), "{error}");
    let seen = seen.lock().unwrap();
    assert!(
        seen.iter()
            .any(|line| line.starts_with("GET http://registry.invalid/v2/")),
        "{seen:?}"
    );
}
