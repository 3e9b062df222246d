//! Leases of leaders that ended with the frozen cluster.
//!
//! A candidate waits for the whole duration of a lease, counted from its own first look, whatever the time in it. So the
//! successor of a leader, in any namespace, would start some 15 seconds late. A thaw releases the leases as a leader does that
//! stops (client-go, `tools/leaderelection`, `ReleaseOnCancel`): it removes the holder, and keeps the lease.

use crate::api::objects::NODE_LEASES;
use crate::error::Error;
use crate::etcd::stored_object::{Message, StoredObject};
use crate::etcd::{Change, Entry, Etcd};

/// Where the database has leases: `NAMESPACE/NAME` below.
const LEASES: &str = "/registry/leases/";
/// Fields of a lease (`k8s.io/api/coordination/v1/generated.proto`).
const SPEC: u64 = 2;
const HOLDER: u64 = 1;
const ACQUIRE_TIME: u64 = 3;

/// The changes to the database that release all leases of leaders.
pub(super) async fn database_changes(etcd: &Etcd) -> Result<Vec<Change>, Error> {
    let heartbeats = format!("{LEASES}{NODE_LEASES}/");
    let leases = etcd.list(LEASES).await?;
    let others = leases.iter().filter(|lease| !lease.key.starts_with(&heartbeats));
    Ok(others.filter_map(release).collect())
}

/// `None` if the lease has no holder, or is a heartbeat: only leaders record when they acquired it.
fn release(lease: &Entry) -> Option<Change> {
    let mut object = StoredObject::decode(&lease.value)?;
    let mut spec = Message::decode(object.get(SPEC)?)?;
    spec.get(ACQUIRE_TIME)?;
    if !spec.remove(HOLDER) {
        return None;
    }
    object.set(SPEC, &spec);
    Some(Change::replace(lease, object.encode()))
}

#[cfg(test)]
mod tests {
    use super::{ACQUIRE_TIME, HOLDER, SPEC, database_changes};
    use crate::etcd::stored_object::tests::{message, stored};
    use crate::etcd::stored_object::{Message, StoredObject};
    use crate::etcd::tests::TestEtcd;

    #[tokio::test]
    async fn only_leases_of_leaders_are_released() {
        let (holder, acquired, renewed) = (
            (HOLDER, b"x_1".to_vec()),
            (ACQUIRE_TIME, b"\x08\x01".to_vec()),
            (4, b"\x08\x02".to_vec()),
        );
        let lease = |spec: &[(u64, Vec<u8>)]| stored(&[(SPEC, message(spec))]);
        let held = lease(&[holder.clone(), acquired.clone(), renewed.clone()]);
        let database = TestEtcd::default();
        database.put("/registry/leases/team/operator", held.clone());
        database.put("/registry/leases/kube-node-lease/node01", held.clone());
        database.put(
            "/registry/leases/team/heartbeat",
            lease(&[holder, renewed.clone()]),
        );
        database.put("/registry/leases/team/free", lease(&[acquired, renewed]));
        database.put("/registry/leases/team/odd", "k8s:enc:x");
        let etcd = database.client().await;
        let changes = database_changes(&etcd).await.unwrap();
        assert_eq!(changes.len(), 1);
        etcd.commit(&changes).await.unwrap();
        let released =
            StoredObject::decode(&database.value("/registry/leases/team/operator").unwrap()).unwrap();
        let spec = Message::decode(released.get(SPEC).unwrap()).unwrap();
        assert!(spec.get(HOLDER).is_none() && spec.get(ACQUIRE_TIME).is_some() && spec.get(4).is_some());
        assert_eq!(
            database.value("/registry/leases/kube-node-lease/node01").unwrap(),
            held
        );
    }
}
