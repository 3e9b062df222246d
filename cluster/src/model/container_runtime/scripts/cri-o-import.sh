# The library reads archives from files, so that of standard input is stored meanwhile.
mkdir -p /var/lib/parbake
dir=$(mktemp -d /var/lib/parbake/import.XXXXXX)
trap 'rm -rf -- "$dir"' EXIT
cat >"$dir/archive"
# containers-transports(5): an image layout has this file, an archive of `docker save` does not.
if tar --list --file="$dir/archive" | grep -qx -e index.json -e ./index.json; then
    kind=oci-archive
else
    kind=docker-archive
fi
for name; do
    TMPDIR=$dir copyimg --root=/var/lib/containers/storage --runroot=/run/containers/storage --storage-driver=overlay \
        --signature-policy=/etc/containers/policy.json --image-name="$name" --import-from="$kind:$dir/archive:$name"
done
