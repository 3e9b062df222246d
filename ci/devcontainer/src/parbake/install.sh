#!/usr/bin/env bash
# Installs the package of VERSION in a dev container of Debian or Ubuntu (containers.dev/implementors/features).
set -euo pipefail

releases=https://github.com/parbake/parbake/releases/download
package=parbake_$VERSION-1_$(dpkg --print-architecture).deb

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
apt-get install --quiet --quiet --yes --no-install-recommends ca-certificates curl >/dev/null
directory=$(mktemp --directory)
cd "$directory"
for file in "$package" SHA256SUMS; do
    curl --silent --show-error --fail --location --retry 3 --remote-name "$releases/v$VERSION/$file"
done
grep --fixed-strings "  $package" SHA256SUMS | sha256sum --check --quiet
# apt reads the package as a user of its own.
chmod 755 .
apt-get install --quiet --quiet --yes --no-install-recommends "./$package" >/dev/null
rm -r "$directory"
