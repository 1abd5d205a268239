# Shared by the scripts beside this file; sourced, never run. Everything is installed below one folder outside the clone, and nothing on the
# system changes, except that missing helper programs are installed with apt-get when that is possible (as root).
# shellcheck shell=bash

COFFER_TOOLS=${COFFER_TOOLS:-${XDG_CACHE_HOME:-${HOME:?set HOME or COFFER_TOOLS}/.cache}/coffer/tools}
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SCRIPT=$(basename "$0" .sh)
mkdir -p "$COFFER_TOOLS"

say() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }
die() {
	say "$*"
	exit 1
}

# Only one run of a script at a time; a second one waits, then finds the work done.
lock() {
	exec 9>"$COFFER_TOOLS/.$SCRIPT.lock"
	flock 9
	sweep
}

# Remove what an interrupted run of this script left. Called under the lock.
sweep() { rm -rf "$COFFER_TOOLS/.staging.$SCRIPT"; }

# A new, empty folder on the tools' file system, so that it can be renamed into place.
staging() {
	local folder=$COFFER_TOOLS/.staging.$SCRIPT
	rm -rf "$folder"
	mkdir -p "$folder"
	printf '%s\n' "$folder"
}

# installed NAME REVISION: whether that revision is in place.
installed() { [ "$(cat "$COFFER_TOOLS/$1/.revision" 2>/dev/null)" = "$2" ]; }

# publish FOLDER NAME REVISION: put a finished folder in place by rename. Programs that still run from the old one keep their open files.
publish() {
	printf '%s\n' "$3" >"$1/.revision"
	if [ -e "$COFFER_TOOLS/$2" ]; then
		local old
		old=$(mktemp -d "$COFFER_TOOLS/.old.XXXXXX")
		mv -T "$COFFER_TOOLS/$2" "$old/$2"
		mv -T "$1" "$COFFER_TOOLS/$2"
		rm -rf "$old"
	else
		mv -T "$1" "$COFFER_TOOLS/$2"
	fi
}

# need PROGRAM PACKAGE...: make sure that a helper program is there.
need() {
	local program=$1
	shift
	command -v "$program" >/dev/null && return
	install_packages "$program" "$@"
}

# install_packages WHAT-FOR PACKAGE...: the only place that changes the system.
install_packages() {
	local reason=$1
	shift
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		say "installing $* (for $reason)"
		(
			exec 8>"$COFFER_TOOLS/.apt.lock"
			flock 8
			export DEBIAN_FRONTEND=noninteractive
			apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" ||
				{ apt-get -q update && apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; }
		) >"$COFFER_TOOLS/.$SCRIPT.log" 2>&1 || {
			tail -n 20 "$COFFER_TOOLS/.$SCRIPT.log" >&2
			die "could not install $* (needed for $reason)"
		}
	else
		die "$reason is missing: install the Debian package(s) $* and run this again"
	fi
}

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
	local log=$COFFER_TOOLS/.$SCRIPT.log
	"$@" >"$log" 2>&1 || {
		tail -n 40 "$log" >&2
		die "failed: $*"
	}
}

# The Debian mirror of this machine's own apt sources.
debian_mirror() {
	if [ -n "${COFFER_DEBIAN_MIRROR:-}" ]; then
		printf '%s\n' "$COFFER_DEBIAN_MIRROR"
		return
	fi
	local mirror
	mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk '$1 ~ /^(stable|oldstable|testing|unstable|sid|bookworm|trixie|forky)$/ { print $2; exit }')
	[ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources: set COFFER_DEBIAN_MIRROR to one (the address that ends in /debian)"
	printf '%s\n' "$mirror"
}

# private_apt SUITE...: prepare an apt of our own with those suites and an empty list of installed packages, so that it resolves whole
# closures and touches nothing of the system's. Sets APT_ROOT and the array APT.
private_apt() {
	need apt-get apt
	need dpkg-deb dpkg
	need xz xz-utils
	APT_ROOT=$COFFER_TOOLS/.apt.$SCRIPT
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite
	[ -e "$keyring" ] || install_packages "the keys of Debian's archive" debian-archive-keyring
	mirror=$(debian_mirror)
	mkdir -p "$APT_ROOT"/state/lists/partial "$APT_ROOT"/cache/archives/partial "$APT_ROOT"/etc/{apt.conf.d,preferences.d,sources.list.d,trusted.gpg.d} "$APT_ROOT"/log
	: >"$APT_ROOT/status"
	: >"$APT_ROOT/etc/preferences"
	for suite in "$@"; do
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
	done >"$APT_ROOT/etc/sources.list"
	# The machine's apt.conf.d (proxies, certificates) has been read by the time that these options apply.
	local options=(
		-o "Dir::State=$APT_ROOT/state" -o "Dir::State::status=$APT_ROOT/status" -o "Dir::Cache=$APT_ROOT/cache" -o "Dir::Log=$APT_ROOT/log"
		-o "Dir::Etc::sourcelist=$APT_ROOT/etc/sources.list" -o "Dir::Etc::sourceparts=$APT_ROOT/etc/sources.list.d"
		-o "Dir::Etc::preferences=$APT_ROOT/etc/preferences" -o "Dir::Etc::preferencesparts=$APT_ROOT/etc/preferences.d"
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Install-Recommends=false
		-o APT::Update::Post-Invoke-Success= -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Debug::NoLocking=true -o APT::Get::List-Cleanup=true
	)
	APT=(apt-get -q "${options[@]}")
	APT_CACHE=(apt-cache "${options[@]}")
	quietly "${APT[@]}" update
}

# unpack DEB... FOLDER
unpack() {
	local folder=${!#} deb
	for deb in "${@:1:$#-1}"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --no-same-owner --keep-directory-symlink \
			--exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/lintian/*'
	done
}
