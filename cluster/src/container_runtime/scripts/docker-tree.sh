# Shows the image's files in a directory and writes them to standard output.
data() { docker image inspect --format "{{with index .GraphDriver.Data \"$1\"}}{{.}}{{end}}" "$2"; }
upper=$(data UpperDir "$2")
lower=$(data LowerDir "$2")
mkdir -p "$1"
dir=$(mktemp -d -- "$1/image.XXXXXX")
trap 'umount "$dir" 2>/dev/null; rmdir "$dir"' EXIT
if [ "$lower" ]; then
    mount -t overlay -o "ro,lowerdir=$upper:$lower" overlay "$dir"
else
    mount --bind "$upper" "$dir"
fi
tar --create --directory="$dir" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name \
    --xattrs --xattrs-include=security.capability --file=- .
