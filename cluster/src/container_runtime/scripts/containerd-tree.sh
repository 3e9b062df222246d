# Shows the image's files in a directory and writes them to standard output.
mkdir -p "$1"
dir=$(mktemp -d -- "$1/image.XXXXXX")
ctr --namespace=k8s.io images mount "$2" "$dir" >/dev/null
trap 'ctr --namespace=k8s.io images unmount --rm "$dir" >/dev/null; rmdir "$dir"' EXIT
tar --create --directory="$dir" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name \
    --xattrs --xattrs-include=security.capability --file=- .
