#!/bin/sh
# Asks the runtime for etcd and the API server in the kubelet's own words, as they were recorded at the bake, while the
# kubelet is still starting. What fails here is left to the kubelet.
cd /var/lib/parbake/head-start || exit

start() {
    # A manifest that was changed since has another pod.
    sha256sum --check --status "$1.sha256" || return
    while read -r file; do
        mkdir -p "${file%/*}"
        case $file in
        */etc-hosts) cp /etc/hosts "$file" ;;
        *) : >>"$file" ;;
        esac
    done <"$1.files"
    mkdir -p "$(sed -n 's/.*"log_directory":"\([^"]*\)".*/\1/p' "$1.pod.json")/$1"
    pod=$(crictl --timeout=30s runp "$1.pod.json") &&
        container=$(crictl --timeout=30s create "$pod" "$1.container.json" "$1.pod.json") &&
        crictl --timeout=30s start "$container"
}

for sum in *.sha256; do
    start "${sum%.sha256}" &
done
wait
