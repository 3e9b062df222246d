//! Tests of whole configuration files.

use parbake_cluster::{ClusterDomain, Description, NodeName, Role, Subnets};

use super::request::ValidationContext;
use super::{Config, ConfigFile, ConfigRequest, schema, to_toml};

fn problems(text: &str) -> Vec<String> {
    let problems = Config::parse(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

fn baked(workers: usize) -> Description {
    let [nodes, pods, services] =
        ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
    let mut names = vec![(NodeName::numbered(1), Role::ControlPlane)];
    names.extend((0..workers).map(|number| (NodeName::numbered(number + 2), Role::Worker)));
    Subnets {
        nodes,
        pods,
        services,
    }
    .describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names)
    .unwrap()
}

/// A configuration file in its own directory.
fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.toml");
    std::fs::write(&path, text).unwrap();
    let file = ConfigFile::read(&path).unwrap();
    (dir, file)
}

/// The examples of the documentation.
fn examples() -> Vec<String> {
    let text = include_str!("../../../docs/configuration.md");
    let blocks = text.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = r#"version = 2
colour = "red"
count = 0
images = "a.tar"

[all-nodes]
role = "worker"
cpus = "two"
memory = "10MiB"
labels = { "a b" = "c", d = "e f" }
taints = ["x", "a=b:NoSchedule"]
sysctls = { "kernel.pid_max" = 1, "net.core.somaxconn" = 1.5 }

[nodes.Node]
cpus = 1

[nodes.node01]
role = "master"

[[mounts]]
host = "a"
path = "b"
node = "node 1"

[[mounts]]
path = "/mnt/c"

[[mounts]]
host = "d"
path = "/mnt/d"

[[mounts]]
host = "e"
path = "/mnt/d/"
node = "node01"

[[ports]]
host = 0
port = 80

[[ports]]
host = 80
port = 81

[[ports]]
listen = "0.0.0.0"
host = 80
port = 82

[feature-gates]
A = "yes"

[arguments.etcd]
a = "b"

[arguments.kubelet]
config = "/etc/other"
max-pods = "a b"
feature-gates = "A=true"

[arguments.kube-apiserver]
audit-log-path = "-"

[etcd]
fsync = "no"
memory = true

[api-server]
audit = true
pod-security = "strict"
"#;
    let expected = [
        (1, "version 2 is not supported"),
        (2, "unknown field `colour`, expected one of `version`, `count`"),
        (3, "a cluster needs at least one node"),
        (4, "`images`: invalid type: string \"a.tar\", expected a sequence"),
        (7, "nodes have different roles"),
        (8, "`all-nodes.cpus`: invalid type: string \"two\""),
        (9, "`all-nodes.memory`: `10MiB` is too little memory"),
        (10, "`all-nodes.labels.a b`: `a b` is not the key of a label"),
        (10, "`all-nodes.labels.d`: `e f` is not the value of a label"),
        (11, "`all-nodes.taints`: `x` is not a taint such as"),
        (
            12,
            "`all-nodes.sysctls.kernel.pid_max`: `kernel.pid_max` is not a kernel parameter",
        ),
        (
            12,
            "`all-nodes.sysctls.net.core.somaxconn`: invalid type: floating point",
        ),
        (14, "`nodes.Node`: `Node` is not a node name"),
        (
            18,
            "`nodes.node01.role`: unknown variant `master`, expected `control-plane` or `worker`",
        ),
        (22, "`mounts.path`: `b` is not an absolute path"),
        (23, "`mounts.node`: `node 1` is not a node name"),
        (25, "`mounts.host` is missing"),
        (34, "`/mnt/d/` is mounted twice on a node"),
        (38, "`ports.host`: invalid value: integer `0`"),
        (47, "port 80 of the host is published twice"),
        (
            51,
            "`feature-gates.A`: invalid type: string \"yes\", expected a boolean",
        ),
        (
            53,
            "`arguments.etcd`: unknown variant `etcd`, expected one of `kube-apiserver`",
        ),
        (57, "`config` of kubelet is managed by parbake"),
        (58, "an argument of the kubelet cannot contain white space"),
        (
            59,
            "`feature-gates` of kubelet is set in the table `feature-gates`",
        ),
        (
            62,
            "`audit-log-path` of kube-apiserver is set by `api-server.audit`",
        ),
        (
            65,
            "`etcd.fsync`: invalid type: string \"no\", expected a boolean",
        ),
        (66, "unknown field `etcd.memory`, expected `fsync` or `in-memory`"),
        (
            70,
            "`api-server.pod-security`: unknown variant `strict`, expected one of `privileged`, `baseline`, `restricted`",
        ),
    ];
    let found = problems(text);
    for ((line, message), problem) in expected.iter().zip(&found) {
        assert!(
            problem.starts_with(&format!("{line}:")),
            "{line} {message}: {problem}"
        );
        assert!(problem.contains(message), "{message}: {problem}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn syntax_errors_are_reported_alone() {
    let found = problems("count = \n[all-nodes\ncpus = 1\n");
    assert!(found[0].starts_with("1:"), "{found:?}");
    assert!(
        found.iter().all(|problem| !problem.contains("unknown field")),
        "{found:?}"
    );
    assert!(Config::parse("").is_ok());
}

#[test]
fn file_is_validated_for_cluster_and_host() {
    let (_dir, file) = file(
        r#"count = 2
images = ["none.tar"]
[all-nodes]
memory = "8000TiB"
[nodes.node02]
role = "control-plane"
cpus = 1000
sysctls = { "net.ipv4.ip_default_ttl2" = 1 }
[nodes.node03]
[nodes.node09]
[[mounts]]
host = "none"
path = "/mnt/a"
[[ports]]
host = 80
port = 80
node = "node03"
[api-server]
audit = "none.yaml"
"#,
    );
    let baked = baked(2);
    let context = ValidationContext {
        baked: &baked,
        count: None,
        first_start: true,
    };
    let error = file.config(Some(context)).unwrap_err().to_string();
    let expected = [
        "2:11: `",
        "4:10: the host has ",
        "6:8: `node02` was baked as worker; a role cannot be changed",
        "7:8: the host has ",
        "8:42: could not set the kernel parameter `net.ipv4.ip_default_ttl2` to `1`: this host's kernel has no such",
        "9:1: node `node03` does not run: the cluster has only `node01`, `node02`",
        "10:1: there is no node `node09`; the cluster has `node01`, `node02`",
        "12:8: `",
        "17:8: node `node03` does not run",
        "19:9: `",
    ];
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        lines[0].ends_with("cluster.toml` is not a valid configuration: 10 problems:"),
        "{error}"
    );
    for (line, expected) in lines[1..].iter().zip(expected) {
        assert!(line.trim_start().starts_with(expected), "{expected}: {line}");
    }
    // Images are loaded at the first start only.
    let restart = ValidationContext {
        first_start: false,
        ..context
    };
    let error = file.config(Some(restart)).unwrap_err().to_string();
    assert!(
        error.contains("9 problems") && !error.contains("none.tar"),
        "{error}"
    );
}

#[test]
fn conflicts_between_flags_and_file_are_reported() {
    let (_dir, file) = file("count = 3\n[[ports]]\nhost = 80\nport = 1\n");
    let mut request = ConfigRequest {
        file: Some(file),
        flags: Config {
            count: Some(250),
            ..Config::default()
        },
    };
    let error = request.resolve(&baked(2)).unwrap_err().to_string();
    assert!(error.contains("has no room for node `node245`"), "{error}");
    request.flags = Config::parse("[[ports]]\nlisten = '0.0.0.0'\nhost = 80\nport = 2\n").unwrap();
    assert_eq!(
        request.resolve(&baked(2)).unwrap_err().to_string(),
        "flags and configuration conflict: `ports[1].host`: port 80 of the host is published twice"
    );
    request.flags = Config::parse("count = 1\n[[ports]]\nhost = 80\nport = 2\n").unwrap();
    let (config, cluster) = request.resolve(&baked(2)).unwrap();
    assert_eq!(
        (config.count, cluster.nodes().len(), config.ports.len()),
        (Some(1), 1, 1)
    );
}

#[test]
fn documented_examples_are_valid_and_complete() {
    let examples = examples();
    assert!(examples.len() > 1, "{examples:?}");
    for example in &examples {
        let config = Config::parse(example).unwrap_or_else(|problems| panic!("{problems}\n{example}"));
        let written = to_toml(&config).unwrap();
        assert_eq!(Config::parse(&written).unwrap(), config, "{written}");
    }
    // The first example contains every field.
    let schema = schema();
    let first: toml::Table = examples[0].parse().unwrap();
    let names = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
    let known = |properties: &serde_json::Value| {
        let mut known: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
        known.sort();
        known
    };
    assert_eq!(names(&first), known(&schema["properties"]));
    let mut of_nodes = names(first["all-nodes"].as_table().unwrap());
    of_nodes.extend(
        first["nodes"]
            .as_table()
            .unwrap()
            .values()
            .flat_map(|node| names(node.as_table().unwrap())),
    );
    of_nodes.sort();
    of_nodes.dedup();
    assert_eq!(of_nodes, known(&schema["$defs"]["NodeConfig"]["properties"]));
    for (table, name) in [("etcd", "Etcd"), ("api-server", "ApiServer")] {
        let fields = names(first[table].as_table().unwrap());
        assert_eq!(fields, known(&schema["$defs"][name]["properties"]), "{table}");
    }
    for (list, name) in [("mounts", "Mount"), ("ports", "Port")] {
        let items = first[list].as_array().unwrap().iter();
        let mut fields: Vec<String> = items.flat_map(|item| names(item.as_table().unwrap())).collect();
        fields.sort();
        fields.dedup();
        assert_eq!(fields, known(&schema["$defs"][name]["properties"]), "{list}");
    }
}

#[test]
fn schema_rejects_unknown_fields_like_the_reader() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let mut objects = 0;
    for table in tables.filter(|table| table["type"] == "object") {
        assert_eq!(table["additionalProperties"], false, "{table}");
        objects += 1;
    }
    assert_eq!(objects, 6, "{schema:#}");
    assert_eq!(schema["properties"]["ports"]["items"]["$ref"], "#/$defs/Port");
    assert_eq!(
        schema["$defs"]["Port"]["required"],
        serde_json::json!(["host", "port"])
    );
    assert_eq!(
        schema["$defs"]["Mount"]["required"],
        serde_json::json!(["host", "path"])
    );
}
