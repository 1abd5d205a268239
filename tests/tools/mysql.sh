#!/usr/bin/env bash
# A real MySQL server (9.x) and its clients, unpacked from Debian sid into a folder of their own and run through that folder's own dynamic
# loader: nothing is installed, no service starts. Programs: mysql/bin/{mysqld,mysql,mysqldump,mysqladmin,…}.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=debian-tree.sh
. "$(dirname "$0")/debian-tree.sh"

REVISION=1
installed mysql $REVISION && exit 0
lock
installed mysql $REVISION && exit 0

say "downloading MySQL from Debian sid, about 410 MB unpacked"
folder=$(staging)
debian_tree "$folder" sid mysql-server-core mysql-client-core

server_options='--no-defaults --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
client_options='--character-sets-dir="$root/usr/share/mysql/charsets" --plugin-dir="$root/usr/lib/mysql/plugin"'
wrapper "$folder" mysqld usr/sbin/mysqld "$server_options"
for client in mysql mysqldump mysqladmin; do wrapper "$folder" $client usr/bin/$client "$client_options" after-defaults; done
wrapper "$folder" mysqlbinlog usr/bin/mysqlbinlog '--character-sets-dir="$root/usr/share/mysql/charsets"' after-defaults

version=$("$folder/bin/mysqld" --version) || die "the unpacked mysqld does not start"
"$folder/bin/mysql" --version >/dev/null || die "the unpacked mysql client does not start"
publish "$folder" mysql $REVISION
say "done: ${version#* }"
