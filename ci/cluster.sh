#!/usr/bin/env bash
# A cluster for a CI job, for action.yml and by hand. Options are in variables:
#
#   cluster.sh install    install the package of VERSION from RELEASES, unless parbake is installed
#   cluster.sh digest     print the digest of ARTIFACT; if that is empty, of what parbake.toml pins
#   cluster.sh up         start the cluster NAME from ARTIFACT, with NODES and CONFIG if set; write its kubeconfig to KUBECONFIG
#   cluster.sh down       print the logs unless STATUS is `success`, and remove the cluster
#
# STORE is a file that keeps the downloaded artifact between jobs: read by `up` if it exists, written by it otherwise.
set -euo pipefail

readonly STATE=${PARBAKE_DIR:-/var/lib/parbake}

main() {
    case "${1-}" in
    install) install_package ;;
    digest) digest ;;
    up) up ;;
    down) down ;;
    *)
        echo "usage: cluster.sh install | digest | up | down" >&2
        exit 2
        ;;
    esac
}

install_package() {
    if command -v parbake >/dev/null; then
        return
    fi
    local package directory
    package=parbake_$VERSION-1_$(dpkg --print-architecture).deb
    directory=$(mktemp --directory)
    (
        cd "$directory"
        for file in "$package" SHA256SUMS; do
            curl --silent --show-error --fail --location --retry 3 --remote-name "$RELEASES/v$VERSION/$file"
        done
        grep --fixed-strings "  $package" SHA256SUMS | sha256sum --check --quiet
        # apt reads the package as a user of its own.
        chmod 755 .
        as_root apt-get update --quiet --quiet
        as_root apt-get install --quiet --quiet --yes --no-install-recommends "./$package" >/dev/null
    )
    rm -r "$directory"
}

digest() {
    if [[ -z ${ARTIFACT-} ]]; then
        pinned_digest
        return
    fi
    local directory
    directory=$(mktemp --directory)
    (
        cd "$directory"
        as_root parbake pin "$ARTIFACT" >/dev/null
        pinned_digest
    )
    as_root rm -r "$directory"
}

pinned_digest() {
    sed -n 's/^artifact = ".*@\(sha256:[0-9a-f]*\)"/\1/p' parbake.toml
}

up() {
    local options=(${ARTIFACT:+"$ARTIFACT"} --name "${NAME:-default}")
    if [[ -n ${NODES-} ]]; then
        options+=(--nodes "$NODES")
    fi
    if [[ -n ${CONFIG-} ]]; then
        options+=(--config "$CONFIG")
    fi
    if [[ -n ${STORE-} && -e $STORE ]]; then
        as_root mkdir -p "$STATE"
        as_root tar --extract --file "$STORE" --directory "$STATE"
    fi
    as_root parbake up "${options[@]}"
    if [[ -n ${STORE-} && ! -e $STORE ]]; then
        mkdir -p "$(dirname "$STORE")"
        # The layers as they were downloaded. Unpacking them again is faster than moving them unpacked.
        as_root tar --create --directory "$STATE" store/oci-layout store/index.json store/blobs >"$STORE.partial"
        mv "$STORE.partial" "$STORE"
    fi
    as_root parbake kubeconfig --name "${NAME:-default}" --write "$KUBECONFIG"
}

down() {
    # A failed start leaves nothing.
    if ! as_root parbake kubeconfig --name "${NAME:-default}" --path >/dev/null 2>&1; then
        return
    fi
    if [[ ${STATUS-} != success ]]; then
        # Whatever fails here, the cluster is removed.
        as_root parbake status --name "${NAME:-default}" || true
        as_root parbake logs --name "${NAME:-default}" --lines 200 || true
    fi
    as_root parbake down --name "${NAME:-default}"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    else
        sudo --preserve-env=PARBAKE_DIR "$@"
    fi
}

main "$@"
