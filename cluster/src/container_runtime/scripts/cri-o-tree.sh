# Shows the image's files in a directory and writes them to standard output.
storage=/var/lib/containers/storage
id=$(crictl --timeout=10s inspecti --output=go-template --template='{{.status.id}}' "$2")
# containers/storage, `images.json`: a list of images, each with its id first and its topmost layer before any other object.
layer=$(sed -n 's/.*{"id":"'"$id"'",[^{}]*"layer":"\([0-9a-f]*\)".*/\1/p' "$storage/overlay-images/images.json")
[ "$layer" ] || { echo "the runtime has no layer of the image $2" >&2; exit 1; }
mkdir -p "$1"
dir=$(mktemp -d -- "$1/image.XXXXXX")
trap 'umount "$dir" 2>/dev/null; rmdir "$dir"' EXIT
cd "$storage/overlay" || exit
if [ -s "$layer/lower" ]; then
    mount -t overlay -o "ro,lowerdir=l/$(cat "$layer/link"):$(cat "$layer/lower")" overlay "$dir"
else
    mount --bind "$layer/diff" "$dir"
fi
tar --create --directory="$dir" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name \
    --xattrs --xattrs-include=security.capability --file=- .
