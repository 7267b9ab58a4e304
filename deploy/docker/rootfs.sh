#!/bin/sh
# Makes the file system of the image: the program, the libraries that it is linked with, and an account without rights.
# usage: rootfs.sh PROGRAM FOLDER
set -eu

program=$1
root=$2
account=10001

install -D -m 755 "$program" "$root/usr/bin/quorate"
# A library is named by its path, after its name if it has one apart from that.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$library" "$root$library"
done

mkdir -p "$root/etc"
echo "quorate:x:$account:$account::/var/lib/quorate:/usr/bin/quorate" > "$root/etc/passwd"
echo "quorate:x:$account:" > "$root/etc/group"
echo "hosts: files dns" > "$root/etc/nsswitch.conf"

install -d -m 700 -o "$account" -g "$account" "$root/var/lib/quorate"
