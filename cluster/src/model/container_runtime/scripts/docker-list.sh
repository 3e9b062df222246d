# Docker keeps no manifests of loaded images: their digest is that of the configuration.
for name; do
    echo "$name image $(docker image inspect --format '{{.Id}}' "$name")"
done
