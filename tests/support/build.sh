#!/bin/bash
# Makes the build folders that tools/test runs from, each named by its sanitizers, and prints TAP: one test a folder.
# build.sh release|install|asan|tsan...; build.sh NAME --setup only configures, build.sh NAME --quiet speaks only of errors.
set -u
. "$(dirname "$0")/../../tools/host.sh"

options() {
	case $1 in
	release) echo -Dbuildtype=debugoptimized ;;
	install) echo -Dbuildtype=release --prefix=/usr ;;
	asan) echo -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args=-fno-sanitize-recover=undefined ;;
	tsan) echo -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false ;;
	*) die "build.sh: no build named $1; there are release, install, asan and tsan" ;;
	esac
}

# What is built there; nothing named: everything.
targets() {
	case $1 in
	tsan) echo tsan-tests ;;
	install) echo control/daemon/weir control/ctl/weirctl client/weircat/weircat client/libweir.so.1.0.0 perf/weirperf ;;
	esac
}

if [ "${2-}" = --setup ]; then
	[ -f "$WEIR_TOP/build/$1/build.ninja" ] || meson setup "$WEIR_TOP/build/$1" "$WEIR_TOP" $(options "$1")
	exit
fi
if [ "${2-}" = --quiet ]; then
	host_build "$1" -- $(options "$1")
	exit
fi
echo "1..$#"
number=0 failed=0
for name in "$@"; do
	number=$((number + 1))
	# The words of targets and options are separate arguments.
	if output=$(host_build "$name" $(targets "$name") -- $(options "$name") 2>&1); then
		echo "ok $number - $name builds without a warning"
	else
		echo "not ok $number - $name builds without a warning"
		sed 's/^/# /' <<<"$output"
		failed=1
	fi
done
exit $failed
