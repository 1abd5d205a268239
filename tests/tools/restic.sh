#!/usr/bin/env bash
# Stock restic, an old and a new one, from Debian: restic/bin/restic-0.14 (bookworm) and restic/bin/restic (the newest, at least 0.18).
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

REVISION=1
installed restic $REVISION && exit 0
lock
installed restic $REVISION && exit 0

say "downloading restic from Debian"
private_apt bookworm trixie forky
folder=$(staging)
mkdir "$folder/bin"

# fetch VERSION NAME: restic is one static program, so the package is only unpacked.
fetch() {
	rm -rf "$folder/deb" "$folder/tree"
	mkdir "$folder/deb" "$folder/tree"
	(cd "$folder/deb" && quietly "${APT[@]}" download "restic=$1")
	unpack "$folder"/deb/restic_*.deb "$folder/tree"
	mv "$folder/tree/usr/bin/restic" "$folder/bin/$2"
	rm -rf "$folder/deb" "$folder/tree"
	"$folder/bin/$2" version >/dev/null || die "the unpacked restic $1 does not start"
}

versions=$("${APT_CACHE[@]}" madison restic | awk -F' *[|] *' '{ print $2 }' | sort -uV)
old=$(grep -m 1 '^0\.14\.' <<<"$versions") || die "Debian bookworm no longer holds restic 0.14; it holds: ${versions//$'\n'/ }"
new=$(tail -n 1 <<<"$versions")
dpkg --compare-versions "$new" ge 0.18 || die "found no restic of version 0.18 or later; Debian holds: ${versions//$'\n'/ }"
fetch "$old" restic-0.14
fetch "$new" restic

publish "$folder" restic $REVISION
say "done: $old and $new"
