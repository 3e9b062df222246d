# show_layers TOP LOWER DIR: mounts the layer TOP and those of the list LOWER, which may be empty, at DIR.
show_layers() {
    if [ "$2" ]; then
        mount -t overlay -o "ro,lowerdir=$1:$2" overlay "$3"
    else
        mount --bind "$1" "$3"
    fi
}
hide() { umount "$1"; }
