#!/bin/sh
# Bakes on a disk that fills up in the middle: `full_disk.sh DIR PARBAKE`. To be run in a mount namespace of its own.
set -eu
dir=$1 parbake=$2
mkdir -p "$dir/disk"
truncate -s 12G "$dir/image"
mkfs.ext4 -q "$dir/image"
mount -o loop "$dir/image" "$dir/disk"
"$parbake" --dir "$dir/disk" provision k8s-1.34 >"$dir/log" 2>&1 &
bake=$!
until [ -e "$dir/disk/bake/k8s-1.34" ] || ! kill -0 "$bake" 2>/dev/null; do sleep 0.05; done
free=$(df --output=avail --block-size=1 "$dir/disk" | tail -n 1)
fallocate -l "$((free - 30000000))" "$dir/disk/filler"
status=0
wait "$bake" || status=$?
cat "$dir/log"
echo "exit $status"
rm "$dir/disk/filler"
# The records of steps that were done, in `bake/steps`, are good for the next bake.
echo "left: $(find "$dir/disk/bake" "$dir/disk/store/tmp" "$dir/disk/store/unpacked" -mindepth 1 \
    -not -name '*.lock' -not -path "$dir/disk/bake/steps*")"
"$parbake" --dir "$dir/disk" --output json artifact list
umount "$dir/disk"
