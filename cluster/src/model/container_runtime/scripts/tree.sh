# Mounts the image and writes its files to standard output. Each runtime defines `show IMAGE DIR` and `hide DIR`.
mkdir -p "$1"
dir=$(mktemp -d -- "$1/image.XXXXXX")
trap 'hide "$dir" 2>/dev/null || true; rmdir "$dir"' EXIT
show "$2" "$dir"
tar --create --directory="$dir" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name \
    --xattrs --xattrs-include=security.capability --file=- .
