#!/usr/bin/env bash
# Builds a release of the commit HEAD. `./dev release` installs what it needs and calls it.
#
#   release/build.sh OUTPUT ARCHITECTURE...
#
# OUTPUT gets packages, a tarball and an SBOM for each ARCHITECTURE (amd64, arm64), and the provenance and checksums of all.
# The same commit should give the same bytes, wherever it is built; signatures differ. They are made with the
# key in COSIGN_KEY, or in a GitHub workflow with its identity.
set -euo pipefail
shopt -s inherit_errexit

# RHEL 8 has the oldest C library that is supported.
readonly GLIBC=2.28
readonly NAME=parbake

main() {
    local output=$1 architecture
    shift
    mkdir -p "$output"
    output=$(readlink -f "$output")
    cd "$(dirname "$(readlink -f "$0")")/.."
    # Under sudo the checkout belongs to another user.
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$PWD
    commit=$(git rev-parse HEAD)
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    work=$(mktemp --directory)
    trap 'rm -rf "$work"' EXIT
    rm -f "$output/$NAME"* "$output"/SHA256SUMS*
    # Not the working tree, which may have other changes. cargo would rebuild everything if the path changed.
    rm -rf "$CARGO_TARGET_DIR/source"
    mkdir "$CARGO_TARGET_DIR/source"
    git archive "$commit" | tar --extract --directory "$CARGO_TARGET_DIR/source"
    cd "$CARGO_TARGET_DIR/source"
    VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    export VERSION
    # cargo goes by the files' times, which are those of the commit.
    rm -rf "$CARGO_TARGET_DIR"/*/dist/.fingerprint/$NAME-*

    compile "$(dpkg --print-architecture)"
    cp "$binary" "$work/native"
    for architecture in "$@"; do
        package "$architecture" "$output"
    done
    cd "$output"
    provenance "$@"
    # shellcheck disable=SC2035 # no name starts with a dash
    sha256sum -- $NAME* >SHA256SUMS
    sign
    cat SHA256SUMS
}

target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    *) echo "error: unknown architecture \`$1\`; write amd64 or arm64" >&2; return 1 ;;
    esac
}

# Sets `binary`. No path of this machine gets into it.
compile() {
    local target flags cargo_home=${CARGO_HOME:-$HOME/.cargo}
    target=$(target "$1")
    rustup target add "$target" 2>"$work/log" || { cat "$work/log" >&2; return 1; }
    flags=("--remap-path-prefix=$PWD=/$NAME" "--remap-path-prefix=$cargo_home=/cargo"
        "--remap-path-prefix=$CARGO_TARGET_DIR=/target")
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}") \
        CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target -g0" \
        cargo zigbuild --quiet --profile dist --locked --package $NAME --target "$target.$GLIBC"
    binary=$CARGO_TARGET_DIR/$target/dist/$NAME
}

package() {
    local output=$2 root=$work/$1 format name
    local share=$root/share
    export ARCHITECTURE=$1 ROOT=$root
    compile "$ARCHITECTURE"
    install -D --mode=755 "$binary" "$root/bin/$NAME"
    mkdir -p "$share/$NAME"
    cp -r providers manifests "$share/$NAME"
    "$work/native" man "$share/man/man1"
    gzip --no-name --best "$share"/man/man1/*
    completion bash bash-completion/completions/$NAME
    completion zsh zsh/site-functions/_$NAME
    completion fish fish/vendor_completions.d/$NAME.fish
    install -D --mode=644 --target-directory="$share/doc/$NAME" README.md CHANGELOG.md
    list_crates
    { cat LICENSE; licences; } >"$share/doc/$NAME/copyright"
    chmod -R u=rwX,go=rX "$root"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

    for format in deb rpm; do
        nfpm package --config release/nfpm.yaml --packager "$format" --target "$output" >"$work/log" ||
            { cat "$work/log" >&2; return 1; }
    done
    name=$NAME-$VERSION-linux-$ARCHITECTURE
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --format=posix \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --transform="flags=r;s,^\\.,$name," \
        --directory "$root" . | gzip --no-name --best >"$output/$name.tar.gz"
    awk '$1 == "name" { name = $3 } $1 == "version" { version = $3 } $1 == "checksum" { print name, version, $3 }' \
        Cargo.lock | tr -d '"' >"$work/checksums"
    jq --rawfile used "$work/crates" --rawfile checksums "$work/checksums" --from-file release/sbom.jq \
        "$work/metadata" >"$output/$name.cdx.json"
}

# Which crates are in the program for ARCHITECTURE: `crates` has `NAME VERSION`, `metadata` what cargo knows of them.
list_crates() {
    local platform
    platform=$(target "$ARCHITECTURE")
    cargo tree --locked --package $NAME --edges normal --prefix none --target "$platform" --format '{p}' |
        awk '{ print $1, substr($2, 2) }' | sort --unique >"$work/crates"
    cargo metadata --locked --format-version 1 --filter-platform "$platform" >"$work/metadata"
}

# The licences of those crates and of the C code in them, each text once.
licences() {
    local crate version license manifest file sum list=$work/licences
    rm -rf "$list"
    mkdir "$list"
    printf '\n%s\n\n' "$NAME contains the following crates:"
    while IFS=$'\t' read -r crate version license manifest; do
        echo "  $crate $version: $license"
        for file in "${manifest%/*}"/{,*/}{LICEN[CS]E,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*; do
            if [[ -f $file ]]; then
                sum=$(sha256sum "$file" | cut -c1-64)
                cp --no-preserve=mode "$file" "$list/$sum"
                echo "  $crate $version" >>"$list/$sum.crates"
            fi
        done
    done < <(jq --raw-output --rawfile used "$work/crates" '($used | split("\n")) as $used | .packages | sort_by(.name, .version)[]
        | select(.source and ("\(.name) \(.version)" | IN($used[])))
        | [.name, .version, .license // "see its licence file", .manifest_path] | @tsv' "$work/metadata")
    for file in "$list"/*.crates; do
        printf '\n%s\n\n' "--- the licence of:"
        cat "$file"
        echo
        cat "${file%.crates}"
    done
}

completion() {
    mkdir -p "$(dirname "$share/$2")"
    "$work/native" completion "$1" >"$share/$2"
}

# SLSA provenance v1 (slsa.dev/provenance/v1) of all packages.
provenance() {
    local subjects
    # shellcheck disable=SC2035
    subjects=$(sha256sum -- $NAME* | jq --raw-input --null-input \
        '[inputs | split("  ") | {name: .[1], digest: {sha256: .[0]}}]')
    jq --null-input --compact-output --argjson subjects "$subjects" --arg commit "$commit" --arg version "$VERSION" \
        --arg lock "$(sha256sum "$CARGO_TARGET_DIR/source/Cargo.lock" | cut -c1-64)" --arg rust "$(cd "$CARGO_TARGET_DIR/source" && rustc --version)" \
        --arg zig "$(python3 -m ziglang version)" --arg nfpm "$(nfpm --version | sed -n 's/^GitVersion: *//p')" \
        --arg builder "${PARBAKE_BUILDER:-https://parbake.dev/release}" '{
            _type: "https://in-toto.io/Statement/v1",
            subject: $subjects,
            predicateType: "https://slsa.dev/provenance/v1",
            predicate: {
                buildDefinition: {
                    buildType: "https://parbake.dev/release/v1",
                    externalParameters: {version: $version, architectures: $ARGS.positional},
                    internalParameters: {rust: $rust, zig: $zig, nfpm: $nfpm},
                    resolvedDependencies: [
                        {name: "source", digest: {gitCommit: $commit}},
                        {name: "Cargo.lock", digest: {sha256: $lock}}
                    ]
                },
                runDetails: {builder: {id: $builder}}
            }
        }' --args "$@" >"$NAME-$VERSION.provenance.json"
}

sign() {
    local options=(--yes --bundle SHA256SUMS.sigstore.json)
    if [[ -n ${COSIGN_KEY-} ]]; then
        options+=(--key "$COSIGN_KEY" --tlog-upload=false)
    elif [[ -z ${ACTIONS_ID_TOKEN_REQUEST_URL-} ]]; then
        echo "not signed: set COSIGN_KEY to a key of cosign"
        return
    fi
    cosign sign-blob "${options[@]}" SHA256SUMS >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
}

main "$@"
