#!/usr/bin/env bash
# Installs what `make test` needs, in parallel; with arguments, only those (wasm-target, mysql, mariadb, restic, stores).
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || set -- wasm-target mysql mariadb restic stores
folder=$(dirname "$0")
declare -A running=()
for tool in "$@"; do
	[ -x "$folder/$tool.sh" ] || die "there is no $tool.sh"
done
# Helper programs that several scripts would otherwise stop for, one after the other, are installed up front and at once.
missing=()
command -v xz >/dev/null || missing+=(xz-utils)
case " $* " in *" stores "*)
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
	command -v npm >/dev/null || missing+=(nodejs npm)
	;;
esac
[ ${#missing[@]} = 0 ] || install_packages "the test tools" "${missing[@]}"

for tool in "$@"; do
	"$folder/$tool.sh" &
	running[$tool]=$!
done
failed=()
for tool in "$@"; do
	wait "${running[$tool]}" || failed+=("$tool")
done
[ ${#failed[@]} = 0 ] || die "not installed: ${failed[*]} (messages above)"
