//! Manifests and images of users, baked into an artifact.

use std::fs;
use std::sync::Mutex;

use parbake_test_support::access::{layout, tool};
use parbake_test_support::other_state_dir::write;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};
use parbake_test_support::registry::Registry;
use parbake_test_support::variant::Variant;

const MANIFEST: &str = include_str!("addons.yaml");
/// The image that comes from a file.
const IMAGE: &str = "own.test/app:v1";
/// The name of the cluster.
const NAME: &str = "own";

/// The options that bake them in, once they exist.
static GIVEN: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Creates an image in a file, an image in a registry and a manifest that needs both. Returns the options that bake them in.
pub(crate) fn given(place: &Place) -> Result<Vec<String>, String> {
    let mut given = GIVEN.lock().map_err(|error| error.to_string())?;
    if let Some(given) = given.as_ref() {
        return Ok(given.clone());
    }
    let work = place.dir().join("own");
    let (file, pulled) = (work.join("file"), work.join("pulled"));
    fs::create_dir_all(&pulled)
        .and_then(|()| fs::create_dir_all(&file))
        .map_err(|error| error.to_string())?;
    // A statically linked program: the one that creates volumes.
    let helper = "var/lib/parbake/images/local-storage-helper";
    let program = Variant::from_baked(place)?.file("image/local-storage-helper", helper)?;
    let found = tool(&["find", ".", "-path", "*/bin/busybox"], &program)?;
    let program = fs::read(program.join(found.trim())).map_err(|error| error.to_string())?;
    layout(&file, &program, &["/busybox", "sleep", "1000000"])?;
    let archive = format!("docker-archive:app.tar:{IMAGE}");
    tool(&["skopeo", "copy", "-q", "oci:oci", &archive], &file)?;
    let digest = layout(&pulled, b"nobody runs it", &["/nothing"])?;
    let registry = Registry::start(place, None)?;
    let reference = registry.reference("own/job");
    let to = format!("docker://{reference}:v1");
    tool(
        &[
            "skopeo",
            "copy",
            "-q",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "oci:oci",
            &to,
        ],
        &pulled,
    )?;
    let reference = format!("{reference}@{digest}");
    let manifest = work.join("app.yaml");
    let text = MANIFEST.replace("@IMAGE@", IMAGE).replace("@JOB@", &reference);
    write(&manifest, text.as_bytes())?;
    let (manifest, archive) = (
        manifest.display().to_string(),
        file.join("app.tar").display().to_string(),
    );
    let options = [
        "--manifest",
        &manifest,
        "--image",
        &archive,
        "--image",
        &reference,
        "--plain-http",
    ];
    let options: Vec<String> = options.map(str::to_owned).into();
    // Fetch while the registry runs: later bakes find the image in the cache.
    pulled_once(place, &options, &registry)?;
    *given = Some(options.clone());
    Ok(options)
}

/// Runs a bake that fetches the images and then fails.
fn pulled_once(place: &Place, options: &[String], _registry: &Registry) -> Outcome {
    let manifest = place.dir().join("own/lacking.yaml");
    write(&manifest, lack("lacks", "app:v9").as_bytes())?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let words = [
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "lacking",
        "--manifest",
    ];
    let manifest = manifest.display().to_string();
    let words = [words.as_slice(), &[&manifest], &options].concat();
    place.refused(
        &words,
        &["statefulset `lacks/db` names the image `app:v9`", "`--image`"],
    )
}

fn lack(namespace: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: db, namespace: {namespace} }}\n\
         spec: {{ template: {{ spec: {{ containers: [{{ name: db, image: \"{image}\" }}] }} }} }}\n"
    )
}

/// Images that are missing or would be pulled at every start are rejected before anything boots.
pub(crate) fn lacking(place: &Place) -> Outcome {
    given(place)?;
    let before = place.run(&["--output", "json", "artifact", "list"])?;
    let manifest = place.dir().join("own/lacking.yaml");
    let text = [lack("a", "app:v1"), lack("b", "registry.k8s.io/pause:latest")].join("---\n");
    write(&manifest, text.as_bytes())?;
    let manifest = manifest.display().to_string();
    let words = [
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "lacking",
        "--manifest",
        &manifest,
    ];
    place.refused(
        &words,
        &[
            "statefulset `a/db` names the image `app:v1`",
            "statefulset `b/db` names the image `registry.k8s.io/pause:latest`",
        ],
    )?;
    let after = place.run(&["--output", "json", "artifact", "list"])?;
    check(before == after, || "the store changed".to_owned())
}

/// The artifact `one` runs what was baked in.
pub(crate) fn runs(place: &Place) -> Outcome {
    let on = |words: &[&str]| place.run(&[&["--name", NAME], words].concat());
    place.json(&["up", "one", "--name", NAME])?;
    // `up` has waited, so nothing else has to.
    let query = "jsonpath={.items[*].spec.containers[*].image} {.items[*].status.phase}";
    let pods = on(&["kubectl", "get", "pods", "-n", "own", "-o", query])?;
    check(pods == format!("{IMAGE} Running"), || pods.clone())?;
    let thing = on(&[
        "kubectl",
        "get",
        "things.own.test",
        "one",
        "-n",
        "own",
        "-o",
        "jsonpath={.size}",
    ])?;
    check(thing == "3", || thing.clone())?;
    // The runtime knows the image by its digest, without a registry.
    let run = "kubectl --kubeconfig=/etc/kubernetes/admin.conf -n own get cronjob later \
        -o 'jsonpath={.spec.jobTemplate.spec.template.spec.containers[0].image}' | xargs crictl inspecti -q";
    on(&["exec", "node01", "--", "sh", "-euc", run])?;
    on(&["down"]).map(drop)
}
