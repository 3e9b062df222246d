//! Which images a cluster's pods need, by all that says so: pods, and the templates that more of them are made from.

use std::collections::BTreeSet;
use std::fmt;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::api_error::{ApiError, is_absent};

/// What has pods in it, and where their specification is.
const HOLDERS: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "Pod", "/spec"),
    ("apps", "v1", "Deployment", "/spec/template/spec"),
    ("apps", "v1", "DaemonSet", "/spec/template/spec"),
    ("apps", "v1", "StatefulSet", "/spec/template/spec"),
    ("apps", "v1", "ReplicaSet", "/spec/template/spec"),
    ("batch", "v1", "Job", "/spec/template/spec"),
    ("batch", "v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
    (
        "batch",
        "v1beta1",
        "CronJob",
        "/spec/jobTemplate/spec/template/spec",
    ),
];

/// An image that an object names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The object, as `deployment default/web`.
    pub by: String,
    /// The image, as the object has it.
    pub image: String,
    /// Whether every start of its container pulls it.
    pub always: bool,
    /// Whether another object has made this one, and mostly says the same.
    pub made: bool,
}

/// Why a pod would not start in a cluster that reaches no registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The cluster does not have the image.
    Missing(Named),
    /// It has the image, but a registry would be asked for it at every start.
    Pulled(Named),
}

impl Lack {
    fn named(&self) -> &Named {
        match self {
            Self::Missing(named) | Self::Pulled(named) => named,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(named) => write!(out, "{} names the image `{}`", named.by, named.image),
            Self::Pulled(named) => write!(
                out,
                "{} pulls the image `{}` at every start (say `imagePullPolicy: IfNotPresent`)",
                named.by, named.image
            ),
        }
    }
}

/// The images that `object` names; none for what has no pods. What the API would fill in is taken as filled in.
pub fn named_by(object: &Value) -> Vec<Named> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let (version, kind) = (
        text("/apiVersion").unwrap_or_default(),
        text("/kind").unwrap_or_default(),
    );
    let (group, _) = version.split_once('/').unwrap_or_default();
    let mut holders = HOLDERS.iter();
    let Some((.., path)) = holders.find(|holder| (holder.0, holder.2) == (group, kind)) else {
        return Vec::new();
    };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let name = text("/metadata/name").unwrap_or_default();
    let by = format!("{} `{namespace}/{name}`", kind.to_lowercase());
    named_in(&by, false, object.pointer(path).unwrap_or(&Value::Null))
}

fn named_in(by: &str, made: bool, pod: &Value) -> Vec<Named> {
    let lists = ["initContainers", "containers"].into_iter();
    let containers = lists.filter_map(|list| pod[list].as_array()).flatten();
    containers
        .filter_map(|container| {
            let image = container["image"].as_str()?;
            let always = match container["imagePullPolicy"].as_str() {
                Some(policy) => policy == "Always",
                None => floats(image),
            };
            Some(Named {
                by: by.to_owned(),
                image: image.to_owned(),
                always,
                made,
            })
        })
        .collect()
}

/// Whether the API fills in `Always` (Kubernetes documentation, 'Images', Default image pull policy).
fn floats(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// What of `named` would not start where `known` are the images, by the names that `complete` gives. What an object has
/// made is left out where another one lacks the same.
pub fn lacking(named: &[Named], known: &BTreeSet<String>, complete: impl Fn(&str) -> String) -> Vec<Lack> {
    let found = named.iter().filter_map(|named| {
        if !known.contains(&complete(&named.image)) {
            Some(Lack::Missing(named.clone()))
        } else if named.always {
            Some(Lack::Pulled(named.clone()))
        } else {
            None
        }
    });
    let found: BTreeSet<Lack> = found.collect();
    let told: BTreeSet<&str> = found
        .iter()
        .filter(|lack| !lack.named().made)
        .map(|lack| lack.named().image.as_str())
        .collect();
    let new = |lack: &&Lack| !lack.named().made || !told.contains(lack.named().image.as_str());
    found.iter().filter(new).cloned().collect()
}

/// The images that all objects of the cluster name.
///
/// # Errors
/// The API does not answer.
pub async fn named_in_cluster(client: &Client) -> Result<Vec<Named>, ApiError> {
    let mut all = Vec::new();
    for (group, version, kind, path) in HOLDERS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let objects = match api.list(&ListParams::default()).await {
            // Not in this version of Kubernetes.
            Err(error) if is_absent(&error) => continue,
            objects => objects.map_err(ApiError::new(format!("list every {kind}")))?,
        };
        for object in objects.items {
            let meta = &object.metadata;
            let owners = meta.owner_references.iter().flatten();
            let made = owners
                .into_iter()
                .any(|owner| HOLDERS.iter().any(|holder| holder.2 == owner.kind));
            let [namespace, name] =
                [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
            let by = format!("{} `{namespace}/{name}`", kind.to_lowercase());
            all.extend(named_in(
                &by,
                made,
                object.data.pointer(path).unwrap_or(&Value::Null),
            ));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{lacking, named_by};

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
        let named = named_by(object);
        named
            .into_iter()
            .map(|named| (named.image, named.always))
            .collect()
    }

    #[test]
    fn every_kind_of_template_is_looked_into() {
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
    fn the_policy_is_what_the_api_makes_of_it() {
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
    fn what_would_not_start_is_told_once() {
        let pod = |image: &str| {
            let pod = json!({"containers": [{"image": image}, {"image": image}]});
            named_by(&object("v1", "Pod", "/spec", pod))
        };
        let known = BTreeSet::from(["library/app:1".to_owned(), "library/app:latest".to_owned()]);
        let said = |image: &str| {
            let lacks = lacking(&pod(image), &known, |name| format!("library/{name}"));
            lacks
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(said("app:1"), "");
        let mut both = [pod("app:2"), pod("app:2"), pod("app:3")].concat();
        both[2].by = "deployment `a/y`".to_owned();
        for named in both.iter_mut().filter(|named| named.by.starts_with("pod")) {
            named.made = true;
        }
        let lacks = lacking(&both, &known, |name| name.to_owned());
        assert_eq!(
            lacks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "deployment `a/y` names the image `app:2`",
                "pod `a/x` names the image `app:3`"
            ]
        );
        assert_eq!(said("app:2"), "pod `a/x` names the image `app:2`");
        assert_eq!(
            said("app:latest"),
            "pod `a/x` pulls the image `app:latest` at every start (say `imagePullPolicy: IfNotPresent`)"
        );
    }
}
