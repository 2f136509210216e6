#!/bin/sh
# Give each user of users.acl a password: make-users.sh FILE writes the file for `aclfile`, which holds digests only,
# and prints the passwords, which are kept nowhere.
set -eu
set -C # an existing file stays: its passwords are in use
[ $# = 1 ] || { echo "usage: $0 FILE" >&2; exit 2; }

: >"$1"
while read -r line; do
  case $line in
    *'#PASSWORD_SHA256'*)
      password=$(openssl rand -hex 24)
      digest=$(printf %s "$password" | sha256sum | cut -c 1-64)
      user=${line#user }
      printf '%s %s\n' "${user%% *}" "$password"
      line="${line%%#PASSWORD_SHA256*}#$digest${line#*#PASSWORD_SHA256}"
      ;;
  esac
  printf '%s\n' "$line" >>"$1"
done <"$(dirname "$0")/users.acl"
