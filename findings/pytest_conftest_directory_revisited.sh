#!/usr/bin/env bash
# pytest 9.1.1: fixtures of a directory are not found where its files do not stand together on the
# command line.
#
# Arguments that name a file below a directory, then one elsewhere, then another file below the first
# directory: the tests of the last cannot find the fixtures of that directory's conftest.py, and end
# as errors at setup ("fixture ... not found"). The same files in sorted order pass, in every import
# mode. pytest 8.4.2 passes both orders. A fixture with autouse is left out without a word. A list of changed files, as a continuous integration passes
# it, is rarely sorted by directory.
#
# Source: https://github.com/pytest-dev/pytest/issues/14964
#
# Seen with: Python 3.11, pytest 9.1.1 and 8.4.2.
# Output seen:
#   9.1.1 together: 3 passed
#   9.1.1 apart: 2 passed, 1 error
#   8.4.2 together: 3 passed
#   8.4.2 apart: 3 passed
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tests/area/part"
cd "$work/tests"
printf 'import pytest\n\n\n@pytest.fixture\ndef given():\n    return 1\n' >area/conftest.py
echo 'def test_one(): pass' >area/part/test_one.py
echo 'def test_two(given): assert given == 1' >area/part/test_two.py
echo 'def test_top(): pass' >test_top.py
touch pytest.ini
seen=""
for version in 9.1.1 8.4.2; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install -q --disable-pip-version-check ${PIP_ARGS:-} "pytest==$version"
  for order in together apart; do
    files=(area/part/test_one.py area/part/test_two.py test_top.py)
    if [ "$order" = apart ]; then files=(area/part/test_one.py test_top.py area/part/test_two.py); fi
    said="$("$work/$version/bin/python" -m pytest -q "${files[@]}" 2>&1 | tail -1 || true)"
    line="$version $order: ${said% in *}"
    echo "$line"
    seen+="$line"$'\n'
  done
done
expected="9.1.1 together: 3 passed
9.1.1 apart: 2 passed, 1 error
8.4.2 together: 3 passed
8.4.2 apart: 3 passed
"
if [ "$seen" != "$expected" ]; then
  echo "the behaviour has changed"
  exit 1
fi
