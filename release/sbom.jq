# An SBOM (CycloneDX 1.5) from the output of `cargo metadata`. $used has a line `NAME VERSION` for each crate in the program,
# $checksums a line `NAME VERSION SHA256` for each that is from a registry.
def purl: "pkg:cargo/\(.name)@\(.version)";
def key: "\(.name) \(.version)";

($used | split("\n") | map({key: ., value: true}) | from_entries) as $used
| ($checksums | split("\n") | map(split(" ") | select(length == 3) | {key: "\(.[0]) \(.[1])", value: .[2]}) | from_entries) as $checksums
| (.packages | map(select($used[key])) | map({key: .id, value: purl}) | from_entries) as $purls
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
        component: (.packages[] | select(.name == "parbake") | {type: "application", "bom-ref": purl, name, version, purl: purl,
            licenses: [{expression: .license}]})
    },
    components: [
        .packages | sort_by(key)[] | select($used[key] and .name != "parbake")
        | {type: "library", "bom-ref": purl, name, version, purl: purl}
            + if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end
            + if $checksums[key] then {hashes: [{alg: "SHA-256", content: $checksums[key]}]} else {} end
    ],
    dependencies: [
        .resolve.nodes | sort_by($purls[.id])[] | select($purls[.id])
        | {ref: $purls[.id], dependsOn: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | $purls[.pkg] | values] | sort}
    ]
}
