//! The images that a cluster's pods need: those of pods, and of the templates that pods are created from.

use std::collections::BTreeSet;
use std::fmt;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use super::response::{is_not_found, request_failed};
use crate::error::Error;

/// A kind of object that contains a pod specification.
struct PodKind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    /// JSON pointer (RFC 6901) to the specification.
    spec: &'static str,
}

const TEMPLATE: &str = "/spec/template/spec";
const POD_KINDS: [PodKind; 8] = [
    pod_kind("", "v1", "Pod", "/spec"),
    pod_kind("apps", "v1", "Deployment", TEMPLATE),
    pod_kind("apps", "v1", "DaemonSet", TEMPLATE),
    pod_kind("apps", "v1", "StatefulSet", TEMPLATE),
    pod_kind("apps", "v1", "ReplicaSet", TEMPLATE),
    pod_kind("batch", "v1", "Job", TEMPLATE),
    pod_kind("batch", "v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
    pod_kind(
        "batch",
        "v1beta1",
        "CronJob",
        "/spec/jobTemplate/spec/template/spec",
    ),
];

const fn pod_kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    spec: &'static str,
) -> PodKind {
    PodKind {
        group,
        version,
        kind,
        spec,
    }
}

/// A use of an image by an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageReference {
    /// The object, such as ``deployment `default/web` ``.
    pub object: String,
    /// The image as the object names it.
    pub image: String,
    /// True if every start of the container pulls the image.
    pub pulls_always: bool,
    /// True if another object has created this one from its template.
    pub is_generated: bool,
}

/// A pod that would not start in a cluster without access to a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageProblem {
    /// The cluster does not have the image.
    Missing(ImageReference),
    /// The cluster has the image, but the pull policy contacts the registry at every start.
    PullsAlways(ImageReference),
}

impl ImageProblem {
    fn reference(&self) -> &ImageReference {
        match self {
            Self::Missing(reference) | Self::PullsAlways(reference) => reference,
        }
    }
}

impl fmt::Display for ImageProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageReference { object, image, .. } = self.reference();
        match self {
            Self::Missing(_) => write!(out, "{object} names the image `{image}`"),
            Self::PullsAlways(_) => write!(
                out,
                "{object} pulls the image `{image}` at every start (set `imagePullPolicy: IfNotPresent`)"
            ),
        }
    }
}

/// The images in a manifest, with the API's defaults applied; none for objects without pods.
pub fn images_in_object(object: &Value) -> Vec<ImageReference> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let (version, kind) = (
        text("/apiVersion").unwrap_or_default(),
        text("/kind").unwrap_or_default(),
    );
    let (group, _) = version.split_once('/').unwrap_or_default();
    let mut kinds = POD_KINDS.iter();
    let Some(pod_kind) = kinds.find(|known| (known.group, known.kind) == (group, kind)) else {
        return Vec::new();
    };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let name = text("/metadata/name").unwrap_or_default();
    let object_name = format!("{} `{namespace}/{name}`", kind.to_lowercase());
    images_in_pod(
        &object_name,
        false,
        object.pointer(pod_kind.spec).unwrap_or(&Value::Null),
    )
}

fn images_in_pod(object: &str, is_generated: bool, pod: &Value) -> Vec<ImageReference> {
    let lists = ["initContainers", "containers"].into_iter();
    let containers = lists.filter_map(|list| pod[list].as_array()).flatten();
    containers
        .filter_map(|container| {
            let image = container["image"].as_str()?;
            let pulls_always = match container["imagePullPolicy"].as_str() {
                Some(policy) => policy == "Always",
                None => is_latest(image),
            };
            Some(ImageReference {
                object: object.to_owned(),
                image: image.to_owned(),
                pulls_always,
                is_generated,
            })
        })
        .collect()
}

/// True if the default pull policy is `Always` (Kubernetes documentation, 'Images', Default image pull policy).
fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// The pods that would not start if the cluster has only the images `known`, whose names are normalized by `normalize`.
/// Generated objects are left out if the problem is also reported for another object.
pub fn find_problems(
    references: &[ImageReference],
    known: &BTreeSet<String>,
    normalize: impl Fn(&str) -> String,
) -> Vec<ImageProblem> {
    let problem = |reference: &ImageReference| {
        if !known.contains(&normalize(&reference.image)) {
            return Some(ImageProblem::Missing(reference.clone()));
        }
        reference
            .pulls_always
            .then(|| ImageProblem::PullsAlways(reference.clone()))
    };
    let problems: BTreeSet<ImageProblem> = references.iter().filter_map(problem).collect();
    let reported: BTreeSet<&str> = problems
        .iter()
        .map(ImageProblem::reference)
        .filter(|reference| !reference.is_generated)
        .map(|reference| reference.image.as_str())
        .collect();
    let is_new = |problem: &&ImageProblem| {
        let reference = problem.reference();
        !reference.is_generated || !reported.contains(reference.image.as_str())
    };
    problems.iter().filter(is_new).cloned().collect()
}

/// The images of all objects in a cluster.
///
/// # Errors
/// A request failed.
pub async fn images_in_cluster(client: &Client) -> Result<Vec<ImageReference>, Error> {
    let mut all = Vec::new();
    for PodKind {
        group,
        version,
        kind,
        spec,
    } in POD_KINDS
    {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let objects = match api.list(&ListParams::default()).await {
            // Not in this version of Kubernetes.
            Err(error) if is_not_found(&error) => continue,
            objects => objects.map_err(request_failed(format!("list every {kind}")))?,
        };
        for object in objects.items {
            let meta = &object.metadata;
            let mut owners = meta.owner_references.iter().flatten();
            let is_generated = owners.any(|owner| POD_KINDS.iter().any(|known| known.kind == owner.kind));
            let [namespace, name] =
                [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
            let object_name = format!("{} `{namespace}/{name}`", kind.to_lowercase());
            let pod = object.data.pointer(spec).unwrap_or(&Value::Null);
            all.extend(images_in_pod(&object_name, is_generated, pod));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{find_problems, images_in_object};

    fn object(version: &str, kind: &str, path: &str, pod: Value) -> Value {
        let mut value = pod;
        for part in path.rsplit('/').filter(|part| !part.is_empty()) {
            value = json!({ part: value });
        }
        value["apiVersion"] = json!(version);
        value["kind"] = json!(kind);
        value["metadata"] = json!({"name": "x", "namespace": "a"});
        value
    }

    fn images(object: &Value) -> Vec<(String, bool)> {
        let found = images_in_object(object);
        found
            .into_iter()
            .map(|found| (found.image, found.pulls_always))
            .collect()
    }

    #[test]
    fn every_kind_of_pod_template_is_searched() {
        let pod = json!({
            "initContainers": [{"image": "one:1"}],
            "containers": [{"image": "two:1"}, {"name": "none"}],
        });
        let template = "/spec/template/spec";
        let job = "/spec/jobTemplate/spec/template/spec";
        for (version, kind, path) in [
            ("v1", "Pod", "/spec"),
            ("apps/v1", "Deployment", template),
            ("apps/v1", "DaemonSet", template),
            ("apps/v1", "StatefulSet", template),
            ("apps/v1", "ReplicaSet", template),
            ("batch/v1", "Job", template),
            ("batch/v1", "CronJob", job),
            ("batch/v1beta1", "CronJob", job),
        ] {
            let found = images(&object(version, kind, path, pod.clone()));
            assert_eq!(
                found,
                [("one:1".to_owned(), false), ("two:1".to_owned(), false)],
                "{kind}"
            );
        }
        assert_eq!(images(&object("example.org/v1", "Deployment", template, pod)), []);
    }

    #[test]
    fn pull_policy_has_the_apis_default() {
        let always = |image: &str, policy: Value| {
            let pod = json!({"containers": [{"image": image, "imagePullPolicy": policy}]});
            images(&object("v1", "Pod", "/spec", pod))[0].1
        };
        let null = || Value::Null;
        assert!(always("r:5000/app", null()) && always("app:latest", null()));
        assert!(!always("r:5000/app:1", null()) && !always("app@sha256:00", null()));
        assert!(always("app:1", json!("Always")) && !always("app", json!("Never")));
    }

    #[test]
    fn each_problem_is_reported_once() {
        let pod = |image: &str| {
            let pod = json!({"containers": [{"image": image}, {"image": image}]});
            images_in_object(&object("v1", "Pod", "/spec", pod))
        };
        let known = BTreeSet::from(["library/app:1".to_owned(), "library/app:latest".to_owned()]);
        let problems = |image: &str| {
            let found = find_problems(&pod(image), &known, |name| format!("library/{name}"));
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(problems("app:1"), "");
        let mut both = [pod("app:2"), pod("app:2"), pod("app:3")].concat();
        both[2].object = "deployment `a/y`".to_owned();
        for reference in both
            .iter_mut()
            .filter(|reference| reference.object.starts_with("pod"))
        {
            reference.is_generated = true;
        }
        let found = find_problems(&both, &known, |name| name.to_owned());
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "deployment `a/y` names the image `app:2`",
                "pod `a/x` names the image `app:3`"
            ]
        );
        assert_eq!(problems("app:2"), "pod `a/x` names the image `app:2`");
        assert_eq!(
            problems("app:latest"),
            "pod `a/x` pulls the image `app:latest` at every start (set `imagePullPolicy: IfNotPresent`)"
        );
    }
}
