mod networks;

use std::fs;

use parbake_cluster::{BuiltinServices, DescriptionError, Node, Role};

use super::{Addon, ClusterSize, ContainerRuntime, Error, ModuleFile, Provider, Recipe};

const GOOD: &str = r#"kubernetes = "1.34.4"
nodes = [
    { name = "node01", role = "control-plane" },
    { name = "node02", role = "worker" },
]

[network]
nodes = "10.89.0.0/24"
pods = "10.244.0.0/16"
services = "10.96.0.0/12"

[os]
suite = "bookworm"
packages = ["containerd", "libstdc++6"]
binaries = ["kubelet"]

[components]
etcd = "3.6.5"

[modules.kubernetes]
go = "1.26.8"
commands = { kubelet = "k8s.io/kubernetes/cmd/kubelet" }
variables = { "k8s.io/component-base/version.gitVersion" = "v1.34.4" }

[modules.etcd]
go = "1.26.8"
commands = { etcd = "go.etcd.io/etcd/server/v3" }

[images.etcd]
files = { "/usr/local/bin/etcd" = "etcd" }

[images.pause]
files = { "/pause" = "pause" }
links = { "/bin/pause" = "../pause" }
packages = ["iptables"]
entrypoint = ["/pause"]
"#;

pub(super) fn recipe() -> Recipe {
    Recipe::parse(GOOD).unwrap()
}

fn problems(text: &str) -> String {
    Recipe::parse(text).unwrap_err().to_string()
}

#[test]
fn generated_files_are_parsed() {
    let text = GOOD.replace(
        "[modules.etcd]",
        "[modules.kubernetes.generated.\"example.org/a//b/c.go\"]\nby = \"example.org/gen\"\nmarker = \"+gen=\"\n\
         arguments = [\"--to\", \"{out}\", \"{packages}\"]\n[modules.etcd]",
    );
    let recipe = Recipe::parse(&text).unwrap();
    let file: ModuleFile = "example.org/a//b/c.go".to_owned().try_into().unwrap();
    let generated = &recipe.modules["kubernetes"].generated[&file];
    assert_eq!(generated.by, "example.org/gen");
    assert_eq!(generated.marker.as_deref(), Some("+gen="));
    assert_eq!(generated.arguments, ["--to", "{out}", "{packages}"]);
}

#[test]
fn valid_file_is_parsed() {
    let recipe = recipe();
    assert_eq!(recipe.kubernetes.to_string(), "v1.34.4");
    assert_eq!(recipe.nodes[1], ("node02".parse().unwrap(), Role::Worker));
    assert_eq!(recipe.components["etcd"].to_string(), "3.6.5");
    assert_eq!(
        recipe.modules["etcd"].commands["etcd"],
        "go.etcd.io/etcd/server/v3"
    );
    assert_eq!(recipe.images["pause"].links["/bin/pause"], "../pause");
    assert_eq!(recipe.package_sets()["image/pause"], ["iptables"]);
    assert_eq!(recipe.package_sets().len(), 2);
    assert_eq!(
        recipe.describe().unwrap().nodes()[1].address.to_string(),
        "10.89.0.12"
    );
}

fn size(nodes: Option<usize>, control_planes: Option<usize>) -> ClusterSize {
    ClusterSize {
        nodes,
        control_planes,
    }
}

#[test]
fn clusters_can_have_more_control_planes_than_listed() {
    let roles = |nodes, planes| {
        let cluster = recipe().describe_sized(size(nodes, Some(planes)))?;
        let is_plane = |node: &Node| node.role == Role::ControlPlane;
        Ok::<_, DescriptionError>(cluster.nodes().iter().map(is_plane).collect::<Vec<_>>())
    };
    assert_eq!(roles(None, 1), Ok(vec![true, false]));
    assert_eq!(roles(None, 3), Ok(vec![true, true, true]));
    assert_eq!(roles(Some(4), 3), Ok(vec![true, true, true, false]));
    assert!(roles(Some(2), 3).is_err());
}

#[test]
fn clusters_can_have_more_workers_than_listed() {
    let names = |count: usize| -> Vec<String> {
        let cluster = recipe().describe_sized(size(Some(count), None)).unwrap();
        let node = |node: &Node| format!("{} {}", node.name, node.address);
        cluster.nodes().iter().map(node).collect()
    };
    assert_eq!(names(1), ["node01 10.89.0.11"]);
    let all = [
        "node01 10.89.0.11",
        "node02 10.89.0.12",
        "node03 10.89.0.13",
        "node04 10.89.0.14",
    ];
    assert_eq!(names(4), all);
    for count in [0, 300] {
        assert!(
            recipe().describe_sized(size(Some(count), None)).is_err(),
            "{count}"
        );
    }
}

#[test]
fn services_need_their_programs() {
    let services = |text: &str| format!("{GOOD}\n[services]\n{text}");
    assert!(recipe().describe().unwrap().builtin_services().is_empty());
    let cases = [
        (
            "dns = true\n",
            "`services.dns` needs `dnsmasq-base` in `os.packages`",
        ),
        (
            "registry = true\n",
            "`services.registry` needs `registry` in `os.binaries`",
        ),
        (
            "dns = \"yes\"\n",
            "`services.dns`: invalid type: string \"yes\", expected a boolean",
        ),
        ("mail = true\n", "unknown field `services.mail`"),
    ];
    for (text, expected) in cases {
        let found = problems(&services(text));
        assert!(found.contains(expected), "{found}");
    }
    let text = services("dns = true\nregistry = false\n").replace("libstdc++6", "dnsmasq-base");
    let offered = Recipe::parse(&text)
        .unwrap()
        .describe()
        .unwrap()
        .builtin_services();
    assert!(offered.dns && !offered.registry);
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = GOOD
        .replace("kubernetes = \"1.34.4\"", "kubernetes = 1.34")
        .replace("suite = \"bookworm\"", "suit = \"bookworm\"")
        .replace("\"10.244.0.0/16\"", "\"10.89.0.128/25\"");
    assert_eq!(
        problems(&text),
        "4 problems:\n  \
         1:14: `kubernetes`: invalid type: floating point `1.34`, expected a string\n  \
         9:8: `network.pods`: `10.89.0.128/25` overlaps `network.nodes`, `10.89.0.0/24`\n  \
         12:1: `os.suite` is missing\n  \
         13:1: unknown field `os.suit`, expected one of `suite`, `packages`, `binaries`, `root`"
    );
}

#[test]
fn syntax_errors_are_reported_alone_with_their_positions() {
    let text = problems("kubernetes = \"1.34.4\"\nnodes = [\nunknown = 1\n");
    assert!(text.contains("\n  3:"), "{text}");
    assert!(!text.contains("`network` is missing"), "{text}");
}

#[test]
fn problems_are_reported() {
    let cases = [
        (
            "\"1.34.4\"",
            "\"1.34\"",
            "1:14: `kubernetes`: `1.34` is not a Kubernetes version such as `v1.34.4`",
        ),
        (
            "\"node01\"",
            "\"Node01\"",
            "3:14: `nodes.name`: `Node01` is not a node name",
        ),
        (
            "\"node02\"",
            "\"node01\"",
            "4:5: there are two nodes named `node01`",
        ),
        (
            "\"worker\"",
            "\"control-plane\"",
            "2:9: 2 control planes tolerate no more failures than 1: use an odd number",
        ),
        (
            "\"control-plane\"",
            "\"worker\"",
            "the first node, `node01`, must have the role `control-plane`",
        ),
        (
            "\"worker\"",
            "\"king\"",
            "4:31: `nodes.role`: unknown variant `king`, expected `control-plane` or `worker`",
        ),
        (
            "role = \"worker\"",
            "role = \"worker\", size = 1",
            "4:41: unknown field `nodes.size`, expected `name` or `role`",
        ),
        (
            "10.89.0.0/24",
            "10.89.0.7/24",
            "`10.89.0.7/24` has host bits set; write `10.89.0.0/24`",
        ),
        (
            "10.89.0.0/24",
            "8.8.8.0/24",
            "`8.8.8.0/24` is not a private network",
        ),
        ("10.89.0.0/24", "10.0.0.0/7", "is not a private network"),
        ("10.89.0.0/24", "10.89.0.0/29", "has no room for node `node01`"),
        (
            "10.244.0.0/16",
            "10.244.0.0/24",
            "has no room for the pods of node `node02`",
        ),
        (
            "10.96.0.0/12",
            "10.96.0.0/29",
            "has no room for the service address of DNS",
        ),
        (
            "libstdc++6",
            "a b",
            "14:27: `os.packages`: `a b` is not the name of a Debian package",
        ),
        (
            "packages = [\"containerd\", \"libstdc++6\"]",
            "packages = []",
            "must name at least one package",
        ),
        (
            "packages = [\"containerd\", \"libstdc++6\"]",
            "packages = \"a\"",
            "`os.packages`: invalid type: string \"a\", expected a sequence",
        ),
        (
            "[\"kubelet\"]",
            "[\"kubelot\"]",
            "15:13: `os.binaries` has `kubelot`, which nothing in `modules` builds",
        ),
        (
            "etcd = \"3.6.5\"",
            "",
            "`modules.etcd` needs its version in `components.etcd`",
        ),
        ("\"3.6.5\"", "\"3.6\"", "18:8: `components.etcd`: "),
        (
            "{ etcd = \"go",
            "{ kubelet = \"go",
            "`modules.kubernetes.commands.kubelet` is also in `modules.etcd`",
        ),
        (
            "{ etcd = \"go.etcd.io/etcd/server/v3\" }",
            "{}",
            "`modules.etcd.commands` must name at least one command",
        ),
        (
            "= \"v1.34.4\" }",
            "= \"v1 -X\" }",
            "must have neither white space nor quotes",
        ),
        (
            "\"/pause\" = \"pause\"",
            "\"pause\" = \"pause\"",
            "`pause` is not an absolute path",
        ),
        (
            "[modules.etcd]",
            "[modules.etcd]\nfiles = { a = \"example.org/a/../b\" }",
            "`example.org/a/../b` is not a file of a module",
        ),
        (
            "[modules.etcd]",
            "generated.\"a//b\" = { by = \"c\", arguments = [\"-o\"] }\n[modules.etcd]",
            "`arguments` must contain `{out}`, the directory for the generated file",
        ),
        (
            "[modules.etcd]",
            "generated.\"a//b\" = { by = \"c\", arguments = [\"{out}\"], marker = \"+x\" }\n[modules.etcd]",
            "`marker` selects the packages of `{packages}`: set both or neither",
        ),
        (
            "[modules.etcd]",
            "generated.\"a/b\" = { by = \"c\", arguments = [\"{out}\"] }\n[modules.etcd]",
            "`a/b` is not a file of a module",
        ),
        (
            "[modules.etcd]",
            "generated.\"a//b\" = { by = \"c\", arguments = [\"{out} {packages}\"], marker = \" \" }\n[modules.etcd]",
            "`modules.kubernetes.generated.a//b.marker`: a marker must be a text within one line",
        ),
        (
            "\"/pause\" = \"pause\"",
            "\"/../pause\" = \"pause\"",
            "`/../pause` is not an absolute path",
        ),
        (
            "\"/pause\" = \"pause\"",
            "\"/pause\" = \"paws\"",
            "`images.pause` has the binary `paws`, which nothing",
        ),
        (
            "files = { \"/usr/local/bin/etcd\" = \"etcd\" }",
            "",
            "`images.etcd` must have at least one file or package",
        ),
        ("[images.etcd]", "[images.\"../etcd\"]", "`../etcd` is not a name"),
        ("[images.pause]", "[image.pause]", "unknown field `image`"),
        (
            "[network]",
            "addons = [\"a\", \"a\"]\n[network]",
            "the add-on `a` is listed twice",
        ),
        (
            "[network]",
            "release.kubelet = \"http://h/a\"\n[network]",
            "`release.kubelet`: `http://h/a` is not the location of a published binary",
        ),
        (
            "[network]",
            "release.kubelet = \"https://h/{cri-o}\"\n[network]",
            "`release.kubelet`: there is no version of `cri-o`",
        ),
        (
            "[network]",
            "release.etcdctl = \"image/db:/etcdctl\"\n[network]",
            "`release.etcdctl` is in the image `db`, which is not in `images`",
        ),
        (
            "[network]",
            "addons = [\"a\"]\noptional = [\"a\"]\n[network]",
            "the add-on `a` is listed twice",
        ),
        (
            "[network]",
            "runtime = \"podman\"\n[network]",
            "7:11: `runtime`: unknown variant `podman`, expected one of `containerd`, `cri-o`, `docker`",
        ),
        (
            "[network]",
            "runtimes.containerd = {}\n[network]",
            "`runtimes.containerd` must differ from the default runtime, `containerd`",
        ),
        (
            "[network]",
            "runtimes.cri-o = { without = [\"none\"] }\n[network]",
            "`runtimes.cri-o.without` has `none`, which is neither in `os.packages` nor in `os.binaries`",
        ),
        (
            "[network]",
            "runtimes.cri-o = { binaries = [\"none\"] }\n[network]",
            "`runtimes.cri-o.binaries` has `none`, which nothing in `modules` builds",
        ),
        (
            "[network]",
            "variants.slim = { services = {} }\n[network]",
            "7:17: `variants.slim.addons` is missing",
        ),
        (
            "[network]",
            "variants.Slim = { addons = [] }\n[network]",
            "7:10: `variants.Slim`: `Slim` is not the name of a variant: use lower-case letters",
        ),
        (
            "[network]",
            "variants = [\"slim\"]\n[network]",
            "7:12: `variants`: invalid type: sequence, expected a map",
        ),
        (
            "[network]",
            "variants.slim = { addons = [], nodes = 1 }\n[network]",
            "7:32: unknown field `variants.slim.nodes`, expected `addons` or `services`",
        ),
        (
            "[network]",
            "addons = [\"a\"]\nvariants.full = { addons = [\"a\", \"b\"] }\n[network]",
            "8:34: `variants.full` has the add-on `b`, which is neither in `addons` nor in `optional`",
        ),
        (
            "[network]",
            "optional = [\"a\"]\nvariants.full = { addons = [\"a\", \"a\"] }\n[network]",
            "8:34: the add-on `a` is listed twice in `variants.full`",
        ),
        (
            "[network]",
            "variants.full = { addons = [], services = { registry = true } }\n[network]",
            "7:43: `variants.full.services.registry` needs `registry` in `os.binaries`",
        ),
        (
            "[network]",
            "options.a = { path = \"/\" }\n[network]",
            "`options.a` is for an add-on that is neither in `addons` nor in `optional`",
        ),
        (
            "[network]",
            "addons = [\"a\"]\noptions.a = { path = \"a b\" }\n[network]",
            "`options.a.path`: `a b` must have neither white space",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let text = problems(&GOOD.replacen(from, to, 1));
        assert!(text.contains(expected), "{to}: {text}");
    }
}

#[test]
fn every_runtime_is_checked() {
    let providers = concat!(env!("CARGO_MANIFEST_DIR"), "/../providers").as_ref();
    let provider = Provider::find("k8s-1.34", providers).unwrap();
    crate::inputs::check(&provider).unwrap();
    for part in ["pinns", "conmon"] {
        let mut provider = provider.clone();
        let runtime = provider.recipe.runtimes.get_mut(&ContainerRuntime::CriO).unwrap();
        runtime.binaries.retain(|binary| binary != part);
        runtime.packages.retain(|package| package != part);
        let error = crate::inputs::check(&provider).unwrap_err().to_string();
        let expected = match part {
            "pinns" => "nodes with the container runtime `cri-o` need `pinns`: name it",
            _ => "(the requested packages of the set `os/cri-o` have changed)",
        };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn variant_changes_addons_but_not_the_lock() {
    let providers = concat!(env!("CARGO_MANIFEST_DIR"), "/../providers").as_ref();
    let provider = Provider::find("k8s-1.34", providers).unwrap();
    let select = |variant: &str| {
        let mut provider = provider.clone();
        provider.select_variant(variant).map(|()| provider)
    };
    let names = |addons: &[Addon]| addons.iter().map(|addon| addon.name.clone()).collect::<Vec<_>>();
    let (mut slim, full) = (select("slim").unwrap(), select("full").unwrap());
    assert!(slim.addons.is_empty() && slim.recipe.services == BuiltinServices::default());
    assert_eq!(
        names(&full.addons),
        ["local-storage", "metrics-server", "traefik"]
    );
    assert_eq!(full.recipe.services, provider.recipe.services);
    for variant in [&slim, &full] {
        crate::inputs::check(variant).unwrap();
        assert_eq!(variant.package_sets(), provider.package_sets());
    }
    assert_eq!(
        [&provider, &slim, &full].map(Provider::tag),
        ["k8s-1.34", "k8s-1.34-slim", "k8s-1.34-full"]
    );
    // Add-ons that a variant lacks can be selected.
    slim.select_addon("local-storage").unwrap();
    assert_eq!(names(&slim.addons), ["local-storage"]);
    let unknown = select("fat").unwrap_err().to_string();
    assert_eq!(
        unknown,
        "`k8s-1.34` has no variant `fat`; there are `full`, `slim`"
    );
}

#[test]
fn unknown_provider_lists_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let missing = |name: &str| Provider::find(name, path).unwrap_err().to_string();
    assert_eq!(
        missing("k8s"),
        format!(
            "there is no provider `k8s` in `{}`; there are none",
            path.display()
        )
    );
    for name in ["k8s-1.34", "k8s-1.17", "Not-One"] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("provider.toml"), GOOD).unwrap();
    }
    fs::create_dir(path.join("empty")).unwrap();
    let known = format!("in `{}`; there are `k8s-1.17`, `k8s-1.34`", path.display());
    for name in ["k8s", "../x", "empty", "", "Not-One"] {
        assert_eq!(missing(name), format!("there is no provider `{name}` {known}"));
    }
    assert_eq!(
        Provider::find("k8s-1.34", path).unwrap().name.as_str(),
        "k8s-1.34"
    );
}

#[test]
fn invalid_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::create_dir(&path).unwrap();
    assert!(matches!(Provider::load(&path).unwrap_err(), Error::Read { .. }));
    fs::write(path.join("provider.toml"), "kubernetes = 1\n").unwrap();
    let error = Provider::load(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("x/provider.toml` is not a valid provider file"),
        "{error}"
    );
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("1:14: `kubernetes`: invalid type: integer `1`, expected a string")
    );
}

#[test]
fn providers_of_this_repository_are_valid_and_locked() {
    let providers = concat!(env!("CARGO_MANIFEST_DIR"), "/../providers").as_ref();
    let names = Provider::list(providers).unwrap();
    assert!(!names.is_empty());
    for name in names {
        let provider = Provider::find(name.as_str(), providers).unwrap();
        crate::inputs::check(&provider).unwrap();
        for module in provider.recipe.modules.keys() {
            for file in ["go.mod", "go.sum"] {
                assert!(
                    provider.dir.join("modules").join(module).join(file).is_file(),
                    "{name}: {module}/{file}"
                );
            }
        }
    }
}
