//! Proxies from the environment.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
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

/// A SOCKS5 proxy (RFC 1928, with the passwords of RFC 1929) that leads every connection to `target`, and the hosts and
/// passwords that it was given.
fn socks_proxy(target: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let recorded = Arc::clone(&seen);
    spawn(move || {
        for client in listener.incoming().flatten() {
            let (target, recorded) = (target.clone(), Arc::clone(&recorded));
            spawn(move || serve_socks(client, &target, &recorded));
        }
    });
    (address, seen)
}

fn serve_socks(mut client: TcpStream, target: &str, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let text = |client: &mut TcpStream| {
        let mut length = [0];
        client.read_exact(&mut length)?;
        let mut text = vec![0; length[0].into()];
        client.read_exact(&mut text)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    // Version and methods; answer: user name and password.
    client.read_exact(&mut [0])?;
    text(&mut client)?;
    client.write_all(&[5, 2])?;
    client.read_exact(&mut [0])?;
    let (user, password) = (text(&mut client)?, text(&mut client)?);
    client.write_all(&[1, 0])?;
    // Version, CONNECT, reserved, a name; then a port.
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    assert_eq!(head, [5, 1, 0, 3]);
    let host = text(&mut client)?;
    client.read_exact(&mut [0; 2])?;
    seen.lock().unwrap().push(format!("{user}:{password}@{host}"));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut server, mut from) = (TcpStream::connect(target)?, client.try_clone()?);
    let mut to = server.try_clone()?;
    let requests = spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Write)
    });
    let _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)?;
    requests.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_proxy_resolves_the_name_and_gets_the_password() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    source.publish(&server.reference("small")).await.unwrap();
    let (proxy, seen) = socks_proxy(server.address.clone());
    let mut command = command(&["pull", "registry.invalid/small"], target.dir.path(), "{}");
    command.env("ALL_PROXY", format!("socks5h://me:p%40ss@{proxy}"));
    ended(&command.output().unwrap()).unwrap();
    target.assert_intact();
    let seen = seen.lock().unwrap();
    assert!(
        seen.iter().all(|seen| seen == "me:p@ss@registry.invalid"),
        "{seen:?}"
    );
}
