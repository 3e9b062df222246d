#!/usr/bin/env bash
# The packages of a release on fresh, minimal systems: Debian 12 and 13, with nothing but the package and what it depends on.
#
#   packages.sh DIST STATE WORK [SUITE...]
#
# DIST is what `./dev release` wrote, STATE a state directory with a baked k8s-1.34, WORK a directory on a disk: it keeps the
# downloaded packages of the systems. Publishes the artifact to a registry, installs the .deb on each SUITE (bookworm,
# trixie), starts the cluster from the registry, and runs the script of the GitHub action. Unpacks all formats. Needs root, mmdebstrap,
# docker-registry, rpm, cpio and binutils. The last line is PASS or FAIL, and the exit code follows it.
set -euo pipefail

readonly ARTIFACT=k8s-1.34
readonly PORT=${PORT:-5055}
# From `parbake up REFERENCE` to a ready cluster, in seconds, on an idle machine with two cores.
readonly GOAL=15
# The longest that a busy machine may take.
readonly LIMIT=300s

main() {
    if [[ ${1-} == inside ]]; then
        inside
        return
    fi
    if [[ $# -lt 3 ]]; then
        echo "usage: packages.sh DIST STATE WORK [SUITE...]" >&2
        exit 2
    fi
    local dist=$1 state=$2 work=$3 suite
    shift 3
    mkdir -p "$work"
    trap 'finish "$work"' EXIT
    architecture=$(dpkg --print-architecture)
    package=$(readlink -f "$dist"/parbake_*_"$architecture".deb)
    (cd "$dist" && sha256sum --check --quiet SHA256SUMS)
    check_contents "$dist" "$work"
    start_registry "$dist" "$state" "$work"
    if [[ $# -eq 0 ]]; then
        set -- bookworm trixie
    fi
    for suite in "$@"; do
        try_suite "$suite" "$work"
    done
    passed=yes
}

# Everything that a package must have, in all three formats; the program needs no newer C library than it says.
check_contents() {
    local dist=$1 work=$2 format file root
    for format in deb rpm tar; do
        root=$work/$format
        rm -rf "$root"
        mkdir "$root"
        case $format in
        deb) dpkg-deb --extract "$package" "$root" ;;
        rpm) rpm2cpio "$dist"/parbake-*."$(uname -m)".rpm | (cd "$root" && cpio --extract --make-directories --quiet) ;;
        tar) mkdir "$root/usr" && tar -xzf "$dist"/parbake-*-linux-"$architecture".tar.gz --strip-components=1 -C "$root/usr" ;;
        esac
        for file in bin/parbake share/man/man1/parbake-up.1.gz share/bash-completion/completions/parbake \
            share/zsh/site-functions/_parbake share/fish/vendor_completions.d/parbake.fish \
            share/doc/parbake/copyright share/parbake/providers/$ARTIFACT/provider.toml \
            share/parbake/manifests/local-storage/addon.toml; do
            [[ -s $root/usr/$file ]] || { echo "no $file in the $format" >&2; return 1; }
        done
        # From another directory and without variables, it finds its own providers.
        (cd / && env -i "$root/usr/bin/parbake" provider check $ARTIFACT)
    done
    cmp "$work/deb/usr/bin/parbake" "$work/rpm/usr/bin/parbake"
    echo "the .rpm requires:"
    rpm --query --package --requires "$dist"/parbake-*."$(uname -m)".rpm
    local newest
    newest=$(objdump -T "$work/deb/usr/bin/parbake" | grep -o 'GLIBC_[0-9.]*' | sort --unique --version-sort | tail -n 1)
    echo "the program needs $newest"
    [[ $(printf '%s\n' "$newest" GLIBC_2.28 | sort --version-sort | tail -n 1) == GLIBC_2.28 ]]
}

start_registry() {
    local dist=$1 state=$2 work=$3
    mkdir -p "$work/registry"
    printf '%s\n' 'version: 0.1' "http: {addr: '127.0.0.1:$PORT'}" \
        "storage: {filesystem: {rootdirectory: '$work/registry'}}" >"$work/registry.yml"
    docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    registry=$!
    "$work/deb/usr/bin/parbake" --dir "$state" publish "$ARTIFACT" "127.0.0.1:$PORT/$ARTIFACT" --plain-http
}

try_suite() {
    local suite=$1 work=$2 root=$2/$1
    remove_root "$root"
    # Without recommended packages: the worst case.
    mmdebstrap --quiet --variant=minbase --skip=check/empty "$suite" "$root" "$("$(dirname "${BASH_SOURCE[0]}")/debian_mirror.sh")"
    cp "$package" "$root/parbake.deb"
    # Proxies and the like.
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99host"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp "${BASH_SOURCE[0]}" "$(dirname "${BASH_SOURCE[0]}")/../ci/cluster.sh" "$root/"
    # Mounts are private, so that none remains.
    # shellcheck disable=SC2016 # the inner shell expands them
    unshare --mount --propagation private -- bash -euc '
        root=$1
        mount --rbind /proc "$root/proc"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PORT="$2" DEBIAN_FRONTEND=noninteractive \
            bash /packages.sh inside' bash "$root" "$PORT"
    remove_root "$root"
}

# In the fresh system.
inside() {
    local started elapsed
    # shellcheck disable=SC1091
    . /etc/os-release
    echo "--- $PRETTY_NAME"
    apt-get update --quiet --quiet
    apt-get install --quiet --quiet --yes --no-install-recommends /parbake.deb >/dev/null
    if command -v gcc go cargo; then
        echo "a compiler is installed" >&2
        return 1
    fi
    parbake doctor --for up
    started=$(date +%s%N)
    parbake up "127.0.0.1:$PORT/$ARTIFACT" --plain-http --wait "$LIMIT"
    elapsed=$((($(date +%s%N) - started) / 1000000))
    trap 'parbake down' EXIT
    echo "$PRETTY_NAME: ready after $elapsed ms (goal: $GOAL s)"
    parbake kubectl get nodes
    useradd --create-home someone
    parbake kubeconfig --merge --user someone
    [[ $(stat --format '%U %a' /home/someone/.kube/config) == "someone 600" ]]
    parbake kubectl get configmap local-registry-hosting --namespace kube-public --output yaml |
        grep --fixed-strings "host: \"$(parbake registry)\""
    trap - EXIT
    parbake down
    ci_script
}

# What the GitHub action runs: the second job gets the artifact from the first one's cache.
ci_script() {
    export PARBAKE_DIR=/first STORE=/cache/store.tar KUBECONFIG=/kubeconfig NAME=job NODES=1
    cd /root
    parbake pin "127.0.0.1:$PORT/$ARTIFACT" --plain-http
    [[ $(/cluster.sh digest) == sha256:* ]]
    /cluster.sh up
    parbake kubectl --name job get nodes
    STATUS=failure /cluster.sh down >/down.log
    grep --quiet kubelet /down.log
    rm -rf /first
    export PARBAKE_DIR=/second
    # Without the registry.
    unshare --net -- sh -euc 'ip link set lo up; /cluster.sh up; STATUS=success /cluster.sh down'
    # Nothing is left to remove.
    /cluster.sh down
}

remove_root() {
    rm -rf --one-file-system "$1"
}

finish() {
    if [[ -n $registry ]]; then
        kill "$registry"
    fi
    rm -rf "$1/registry" "$1/deb" "$1/rpm" "$1/tar"
    if [[ -z $passed ]]; then
        echo FAIL
        exit 1
    fi
    echo PASS
}

registry='' passed='' architecture='' package=''
main "$@"
