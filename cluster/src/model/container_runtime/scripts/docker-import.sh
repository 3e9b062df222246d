# Docker loads archives of `docker save`, which have a `manifest.json` (Docker image specification 1.2, 'Combined Image JSON +
# Filesystem Changeset Format'). It is added to an image layout (OCI image specification 1.1, 'Image Layout').
mkdir -p /var/lib/parbake
dir=$(mktemp -d /var/lib/parbake/import.XXXXXX)
trap 'rm -rf -- "$dir"' EXIT
tar --extract --file=- --directory="$dir"
blob() { echo "$dir/blobs/$(echo "$1" | tr : /)"; }
# The digest of the first manifest that matches.
digest() { jq -r "first(.manifests[] | select($1)).digest" "$2"; }
if [ -e "$dir/index.json" ]; then
    architecture=$(docker version --format '{{.Server.Arch}}')
    for name; do
        found=$(digest ".annotations[\"io.containerd.image.name\"] == \"$name\"" "$dir/index.json")
        while jq -e .manifests "$(blob "$found")" >/dev/null; do
            found=$(digest ".platform.architecture == \"$architecture\"" "$(blob "$found")")
        done
        jq --arg name "$name" 'def path: "blobs/" + sub(":"; "/");
            {Config: .config.digest | path, RepoTags: [$name], Layers: [.layers[].digest | path]}' "$(blob "$found")"
    done | jq -s . >"$dir/manifest.json"
fi
tar --create --file=- --directory="$dir" . | docker load --quiet
