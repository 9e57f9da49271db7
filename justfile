# What a developer does, by name. From a clean clone:
#   python3 -m venv .venv && .venv/bin/pip install rust-just && .venv/bin/just serve

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

python := ".venv/bin/python"
model := "smollm2-135m-instruct"

[private]
default:
    @{{quote(just_executable())}} --justfile {{quote(justfile())}} --list --unsorted

# Set up, fetch the default model and start the gateway; arguments go to the server
[no-exit-message]
serve *args: setup models
    @exec {{python}} -m openkimi.api.server --config config/config.json "$@"

# Set up, fetch the default model and run the whole suite; arguments go to pytest
[no-exit-message]
test *args: setup models
    @exec {{python}} -m pytest "$@"

# Check the style and the formatting
lint: setup
    {{python}} -m ruff check
    {{python}} -m ruff format --check

# Check the types: ours, and those that a stranger's plugin sees
types: setup
    {{python}} -m mypy
    cd tests/third_party && ../../{{python}} -m mypy --strict -p openkimi_shout

# Build the sdist and the wheel, install the wheel into an empty environment and try it there
wheel *args: setup
    {{python}} -m pytest -m packaging tests/project/test_packaging.py "$@"

# Run the test suites of others against the gateway; one by its name, such as `just compat openai`
[no-exit-message]
compat *suites: setup
    @exec {{python}} tests/compat/run.py "$@"

# Run the tests of the documentation
docs *args: setup models
    {{python}} -m pytest tests/project -k docs "$@"

# Run a benchmark, such as `just bench responsiveness`; further arguments go to it
bench name *args: setup models
    {{python}} benchmarks/"$1".py "${@:2}"

# Fetch the default model, unless it is there
[no-exit-message]
models: setup
    @{{python}} -m openkimi_gguf.models pull {{model}}

# Write config/config.schema.json anew
schema: setup
    .venv/bin/openkimi schema config/config.schema.json

# Pin the dependencies anew; `just lock --upgrade` takes the newest
lock *args:
    #!/usr/bin/env bash
    set -euo pipefail
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    python3 -m venv "$scratch"
    "$scratch/bin/pip" install --quiet uv
    compile() {
        "$scratch/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
            --no-emit-index-url --custom-compile-command "just lock" "$@"
    }
    compile pyproject.toml --extra llama-cpp --extra files --group dev --output-file requirements-dev.txt "$@"
    compile pyproject.toml --extra llama-cpp --extra files --constraint requirements-dev.txt --output-file requirements.txt --upgrade
    for suite in tests/compat/requirements/*.in; do
        compile "$suite" --output-file "${suite%.in}.txt" "$@"
    done

# Install OpenKimi with everything that it needs into .venv, unless that is done
[no-exit-message]
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    exec 3>&2
    say() { printf '%s\n' "$*" >&3; }
    fail() { say "setup: $*"; exit 1; }
    pip() { {{python}} -m pip --disable-pip-version-check --no-input "$@"; }

    if [ ! -e .venv ]; then python3 -m venv .venv; fi
    {{python}} -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "the Python in .venv does not run or is older than 3.11." \
             "Make .venv anew with Python 3.11 or newer: rm -r .venv; python3 -m venv .venv"

    stamp=.venv/openkimi-setup
    state=$({{python}} -c 'import os, sys; print(os.getcwd(), sys.version)'; cat pyproject.toml requirements-dev.txt)
    state=$(printf '%s' "$state" | {{python}} -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    if [ "$(cat $stamp 2>/dev/null)" = "$state" ]; then exit 0; fi

    log=.venv/setup.log
    : > $log
    say "Setting up .venv; the details go to $log."
    if ! {{python}} -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("llama_cpp") is None)'; then
        if pip cache list llama_cpp_python 2>/dev/null | grep -q llama_cpp_python; then
            say "llama.cpp was compiled here before: this takes about a minute."
        elif { command -v cc && command -v c++; } > /dev/null || { command -v gcc && command -v g++; } > /dev/null; then
            say "llama.cpp is compiled for this machine, once: about 6 minutes on two cores, less on more."
        else
            fail "llama.cpp has to be compiled, and no C and C++ compiler was found. Install one and try again:" \
                 "apt-get install gcc g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)"
        fi
    fi

    doing() {
        grep -oE '^ *(\[[0-9]+/[0-9]+\]|Collecting [^ ]+|Building wheel for [^ ]+|Installing collected)' $log |
            tail -n 1 | sed -e 's/^ *//' -e 's/^\[/compiling llama.cpp: step [/' -e 's/ed$/ed packages/'
    }
    report() {
        while sleep 15 > /dev/null 2>&1 && kill -0 $$; do
            say "$(printf '%3d:%02d' $((SECONDS / 60)) $((SECONDS % 60)))  $(doing)"
        done
    }
    report & reporter=$!
    trap 'kill $reporter 2>/dev/null || true' EXIT
    trap 'fail "stopped; the same command goes on from what is installed."' INT TERM

    export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}
    # pip before 23.1 would compile again what is in its cache
    {
        pip install "pip>=23.1" &&
        pip install --verbose --require-hashes --requirement requirements-dev.txt &&
        pip install --no-deps --no-build-isolation --editable .
    } >> $log 2>&1 || {
        tail -n 25 $log | cut -c 1-200 >&2
        fail "pip failed; above is the end of $log. Mend what it names and run the same command again."
    }
    printf '%s\n' "$state" > $stamp
    say "Set up in $((SECONDS / 60)) min $((SECONDS % 60)) s."
