# Docker keeps no manifests of what it loads: an image goes by the digest of its configuration.
for name; do
    echo "$name image $(docker image inspect --format '{{.Id}}' "$name")"
done
