use super::{draft, one, tag};
use crate::reference::Reference;

#[test]
fn pulled_artifacts_are_found_by_reference() {
    let (_temp, store, artifact) = one();
    let reference = |text: &str| text.parse::<Reference>().unwrap();
    let origin = reference("example.org/clusters/one:v5");
    assert_eq!(store.find(&origin).unwrap(), None);
    let (_, manifest) = store.manifest_bytes(&tag("one")).unwrap();
    let pulled = store.import(&tag("pulled"), &manifest, Some(&origin)).unwrap();
    assert_eq!(store.get(&tag("pulled")).unwrap(), pulled);
    assert_eq!(pulled.origin.as_ref(), Some(&origin));
    assert_eq!(store.find(&origin).unwrap(), Some(tag("pulled")));
    assert_eq!(
        store.find(&reference("example.org/clusters/one:v6")).unwrap(),
        None
    );
    // A digest is enough, whatever the origin.
    let other = reference("example.com/other").pinned(&artifact.digest);
    assert_eq!(store.find(&other).unwrap(), Some(tag("one")));
    assert_eq!(store.origin(&tag("one")).unwrap(), None);

    // Replacing the artifact clears the origin.
    store.put(&tag("pulled"), draft(&artifact.layers)).unwrap();
    assert_eq!(store.find(&origin).unwrap(), None);
}
