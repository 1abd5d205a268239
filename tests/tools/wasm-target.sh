#!/usr/bin/env bash
# Makes `cargo build --target wasm32-unknown-unknown` work with the repository's compiler. Where rustup can fetch the target
# (`rustup target add wasm32-unknown-unknown`) there is nothing left to do; elsewhere std is built once from library source of exactly the
# compiler's version and put where the target's std belongs.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

TARGET=wasm32-unknown-unknown
cd "$REPOSITORY" # rust-toolchain.toml decides which compiler this is about
command -v rustc >/dev/null || die "no rustc: install the Rust toolchain named in rust-toolchain.toml"
SYSROOT=$(rustc --print sysroot)
VERSION=$(rustc --version | cut -d' ' -f2)
COMMIT=$(rustc -vV | sed -n 's/^commit-hash: //p')
LIBDIR=$(rustc --print target-libdir --target $TARGET)

present() {
	local scratch
	scratch=$(mktemp -d)
	local result=0
	printf 'pub fn probe() -> String { String::new() }' |
		rustc --target $TARGET --crate-type=lib --emit=metadata --out-dir "$scratch" - >/dev/null 2>&1 || result=1
	rm -rf "$scratch"
	return $result
}

# Library source of this version, unpacked into $1/library.
find_source() {
	local component=$SYSROOT/lib/rustlib/src/rust/library
	if [ -n "${RUST_LIBRARY_SRC:-}" ]; then
		SOURCE=$RUST_LIBRARY_SRC
		if [ -d "$RUST_LIBRARY_SRC" ]; then
			cp -a "$RUST_LIBRARY_SRC" "$1/library"
		elif [ -f "$RUST_LIBRARY_SRC" ]; then
			need xz xz-utils
			tar -xf "$RUST_LIBRARY_SRC" -C "$1"
		else
			die "RUST_LIBRARY_SRC=$RUST_LIBRARY_SRC is neither a folder nor a tarball"
		fi
	elif [ -f "$component/sysroot/Cargo.toml" ]; then
		SOURCE="the rust-src component"
		cp -a "$component" "$1/library"
	else
		SOURCE="Debian's rust-src"
		from_debian "$1"
	fi
	[ -f "$1/library/sysroot/Cargo.toml" ] || die "$SOURCE does not hold the Rust library (no library/sysroot/Cargo.toml)"
}

from_debian() {
	local package suite
	local help="or run 'rustup target add $TARGET' where rustup can reach its server, or set RUST_LIBRARY_SRC to the library source of Rust $VERSION"
	for suite in trixie-backports forky sid; do
		# Each suite by itself: one that the mirror lacks must not hide the others.
		(private_apt "$suite") 2>/dev/null || continue
		private_apt "$suite"
		package=$("${APT_CACHE[@]}" madison rust-src | awk -F' *[|] *' -v v="$VERSION" 'index($2, v "+") == 1 { print $2; exit }')
		[ -n "$package" ] || continue
		rm -f "$APT_ROOT"/cache/archives/*.deb
		mkdir -p "$1/debs"
		(cd "$1/debs" && quietly "${APT[@]}" download "rust-src=$package")
		dpkg-deb --fsys-tarfile "$1"/debs/rust-src_*.deb | tar -x -C "$1" --strip-components=4 "./usr/src/rustc-$VERSION/library"
		return
	done
	die "found no Rust library source of version $VERSION in Debian; $help"
}

present && exit 0
lock
present && exit 0

writable=$LIBDIR
while [ ! -e "$writable" ]; do writable=$(dirname "$writable"); done
[ -w "$writable" ] || die "the target $TARGET is missing and $writable is not writable: run 'rustup target add $TARGET', or run this as the toolchain's owner"

# A fixed path, so that the hashes in the names repeat from build to build.
BUILD=$COFFER_TOOLS/wasm-std
rm -rf "$BUILD"
mkdir -p "$BUILD"
trap 'rm -rf "$BUILD"' EXIT
find_source "$BUILD"
say "building std $VERSION for $TARGET from $SOURCE, half a minute to a minute, once"
command -v cc >/dev/null || install_packages "a C compiler for build scripts" gcc libc6-dev

CARGO=$SYSROOT/bin/cargo
[ -x "$CARGO" ] || CARGO=cargo
build_std() (
	cd "$BUILD/library/sysroot"
	# The caller's settings are for its own crates, not for std.
	unset CARGO_BUILD_TARGET RUSTFLAGS CARGO_INCREMENTAL RUSTUP_TOOLCHAIN
	for variable in $(compgen -v CARGO_PROFILE_) $(compgen -v CARGO_TARGET_); do unset "$variable"; done
	export RUSTC=$SYSROOT/bin/rustc CARGO_TARGET_DIR=$BUILD/target RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=wasm-from-source
	# Panics name their place: as the official std has it, not where it lay on this machine.
	"$CARGO" fetch --locked --target $TARGET
	local separator=$'\x1f' flags="-Cembed-bitcode=yes" dependencies
	flags+="$separator-Zforce-unstable-if-unmarked$separator-Cdebuginfo=0"
	flags+="$separator--remap-path-prefix=$BUILD/library=/rustc/$COMMIT/library"
	for dependencies in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
		flags+="$separator--remap-path-prefix=$dependencies=/rust/deps"
	done
	export CARGO_ENCODED_RUSTFLAGS=$flags
	"$CARGO" build --locked --release --target $TARGET --features panic-unwind,compiler-builtins-mem
)
quietly build_std

# All at once by rename: a compiler that looks meanwhile sees either no std or a whole one.
mkdir -p "$(dirname "$LIBDIR")"
FRESH=$LIBDIR.new.$$
mkdir "$FRESH"
cp "$BUILD/target/$TARGET"/release/deps/*.rlib "$FRESH/"
rm -f "$FRESH"/libsysroot-*
[ -d "$LIBDIR" ] && cp -an "$LIBDIR/." "$FRESH/" && mv "$LIBDIR" "$LIBDIR.old.$$"
mv -T "$FRESH" "$LIBDIR"
rm -rf "$LIBDIR.old.$$"

# cargo does not notice that std was replaced.
if [ -d "${CARGO_TARGET_DIR:-$REPOSITORY/target}" ]; then
	find "${CARGO_TARGET_DIR:-$REPOSITORY/target}" -type d -name "$TARGET" -prune -exec rm -rf {} +
fi
present || die "std was built and installed in $LIBDIR, but the compiler does not accept it"
say "done"
