# CRI-O lists an image's digests as `REPO@DIGEST`.
for name; do
    digest=$(crictl --timeout=10s inspecti --output=json "$name" | sed -n 's/.*@\(sha256:[0-9a-f]\{64\}\)".*/\1/p')
    echo "$name image $(echo "$digest" | head -n 1)"
done
