show() { ctr --namespace=k8s.io images mount "$1" "$2" >/dev/null; }
hide() { ctr --namespace=k8s.io images unmount --rm "$1" >/dev/null; }
