# Whole programs with all their libraries from a Debian suite that is newer than the machine's; sourced by the scripts beside it.
# shellcheck shell=bash

# debian_tree FOLDER SUITE PACKAGE...: download the packages with everything that they depend on, libc included, and unpack them into
# FOLDER/tree.
debian_tree() {
	local tree=$1/tree suite=$2
	shift 2
	private_apt "$suite"
	rm -f "$APT_ROOT"/cache/archives/*.deb
	quietly "${APT[@]}" -y --download-only install "$@"
	# With /usr merged, as the packages expect; not every closure brings the package that makes these links.
	local part
	for part in bin sbin lib lib64; do
		mkdir -p "$tree/usr/$part"
		ln -s "usr/$part" "$tree/$part"
	done
	unpack "$APT_ROOT"/cache/archives/*.deb "$tree"
	rm -f "$APT_ROOT"/cache/archives/*.deb
}

# wrapper FOLDER NAME PROGRAM OPTIONS [after-defaults]: FOLDER/bin/NAME runs the tree's PROGRAM through the folder's own loader, with OPTIONS put before the
# caller's; with after-defaults, options that must come first (--no-defaults, --defaults-…, --print-defaults) stay first.
wrapper() {
	local tree=$1/tree bin=$1/bin name=$2 program=$3 options=$4 loader libraries
	[ -e "$tree/$program" ] || die "the packages hold no $program"
	loader=$(cd "$tree" && find usr/lib/*-linux-gnu* -maxdepth 1 -name 'ld-linux*.so.*' -print -quit)
	[ -n "$loader" ] || die "the packages hold no dynamic loader"
	libraries=$(dirname "$loader")
	mkdir -p "$bin"
	{
		printf '#!/bin/sh\n# Written by tests/tools: %s with its own libraries.\n' "$name"
		printf 'self=$(readlink -f "$0")\nroot=${self%%/bin/*}/tree\n'
		if [ "${5:-}" = after-defaults ]; then
			printf 'first=\ncase ${1:-} in --no-defaults | --defaults-file=* | --defaults-extra-file=* | --print-defaults) first=$1; shift ;; esac\n'
			printf 'exec "$root/%s" --library-path "$root/%s" --argv0 "$root/%s" "$root/%s" ${first:+"$first"} %s "$@"\n' \
				"$loader" "$libraries" "$program" "$program" "$options"
		else
			printf 'exec "$root/%s" --library-path "$root/%s" --argv0 "$root/%s" "$root/%s" %s "$@"\n' "$loader" "$libraries" "$program" "$program" "$options"
		fi
	} >"$bin/$name"
	chmod +x "$bin/$name"
}
