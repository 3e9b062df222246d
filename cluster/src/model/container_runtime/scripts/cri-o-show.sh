show() {
    storage=/var/lib/containers/storage
    id=$(crictl --timeout=10s inspecti --output=go-template --template='{{.status.id}}' "$1")
    # containers/storage, `images.json`: a list of images, each with its id first and its topmost layer before any other
    # object.
    layer=$(sed -n 's/.*{"id":"'"$id"'",[^{}]*"layer":"\([0-9a-f]*\)".*/\1/p' "$storage/overlay-images/images.json")
    [ "$layer" ] || { echo "the runtime has no layer of the image $1" >&2; exit 1; }
    # The lowest has no list of those below it. What is in the lists leads on from here.
    cd "$storage/overlay" || exit
    lower=$(if [ -e "$layer/lower" ]; then cat "$layer/lower"; fi)
    show_layers "$layer/diff" "$lower" "$2"
}
