#!/bin/sh
# Make the virtual environment of this checkout from the lock file. Usage: setup.sh DIRECTORY
set -eu
venv=$1

fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

command -v git >/dev/null 2>&1 || fail "git is missing. Debian: apt-get install git · macOS: xcode-select --install"

python=
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 or newer is missing. Debian: apt-get install python3 python3-venv · macOS: brew install python"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "this $python has no venv. Debian: apt-get install python3-venv"

echo "setup: $("$python" --version), into $venv (once; needs PyPI)"
rm -rf "$venv"
"$python" -m venv "$venv"
# The lock is whole: with --no-deps pip resolves nothing, where one of 2023 takes a newer release for `pydantic[email]`.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock ||
    fail "the locked dependencies could not be installed; is PyPI (or your mirror, by pip's own configuration) reachable?"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
"$venv/bin/python" -m pip check >/dev/null || fail "requirements.lock lacks something that pyproject.toml or a dependency needs; run make lock"
