ctr --namespace=k8s.io images import -
# CRI looks up a reference with a digest as `REPO@DIGEST`, without its tag, and only by that name.
for name; do
    case $name in *@*) ;; *) continue ;; esac
    repo=${name%@*}
    case ${repo##*/} in *:*) repo=${repo%:*} ;; esac
    if [ "$repo@${name##*@}" != "$name" ]; then
        ctr --namespace=k8s.io images tag --force "$name" "$repo@${name##*@}"
    fi
done
