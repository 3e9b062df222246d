#!/usr/bin/env bash
# Prints the Debian mirror that parbake itself would use.
set -euo pipefail

url=${PARBAKE_DEBIAN_MIRROR-}
if [[ -z $url ]]; then
    # shellcheck disable=SC2016 # these are apt's variables
    url=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)' "Created-By: Packages" |
        awk '$1 == "Debian" && $2 == "main" && $3 !~ /-security/ && !found++ { print $4 }')
fi
echo "${url%%,*}"
