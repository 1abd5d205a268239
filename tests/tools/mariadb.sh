#!/usr/bin/env bash
# MariaDB 10.11 and its clients from Debian bookworm, unpacked into a folder of their own like MySQL in mysql.sh.
# Programs: mariadb/bin/{mariadbd,mariadb,mariadb-dump,mariadb-admin}.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=debian-tree.sh
. "$(dirname "$0")/debian-tree.sh"

REVISION=1
installed mariadb $REVISION && exit 0
lock
installed mariadb $REVISION && exit 0

say "downloading MariaDB from Debian bookworm"
folder=$(staging)
debian_tree "$folder" bookworm mariadb-server-core mariadb-client-core mariadb-client

server_options='--no-defaults --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
client_options='--character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
wrapper "$folder" mariadbd usr/sbin/mariadbd "$server_options"
for client in mariadb mariadb-dump mariadb-admin; do wrapper "$folder" $client usr/bin/$client "$client_options" after-defaults; done

version=$("$folder/bin/mariadbd" --version) || die "the unpacked mariadbd does not start"
"$folder/bin/mariadb" --version >/dev/null || die "the unpacked mariadb client does not start"
publish "$folder" mariadb $REVISION
say "done: ${version#* }"
