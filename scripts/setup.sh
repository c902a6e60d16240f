#!/usr/bin/env bash
# Everything `make demo` and `make test` need on a fresh machine, into .venv.
# PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*"; }

# 1. What Qt needs from a Debian or Ubuntu system, and a screen for the tests.
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
  missing=()
  for package in libegl1 libgl1 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 \
    libxcb-keysyms1 libxcb-shape0 libdbus-1-3 xvfb; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  # Its package has another name in newer releases; apt-get knows both.
  /sbin/ldconfig -p | grep -q libglib-2.0.so.0 || missing+=(libglib2.0-0)
  if ((${#missing[@]})); then
    if ((EUID == 0)); then
      say "Installing system libraries: ${missing[*]}"
      export DEBIAN_FRONTEND=noninteractive
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
        say "That failed; going on without them."
    else
      say "Qt may need system libraries that are not installed. To install them, run:"
      echo "sudo apt-get install -y ${missing[*]}"
    fi
  fi
fi

# 2. A virtual environment with Python 3.11 or newer.
if [[ ! -x .venv/bin/python ]]; then
  python=
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [[ -z $python ]]; then
    echo "Python 3.11 or newer was not found. Install it, or run: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
  fi
  if ! "$python" -c 'import ensurepip' 2>/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null || true
  fi
  say "Creating .venv with $("$python" --version)"
  if ! "$python" -m venv .venv; then
    rm -rf .venv
    echo "Could not create .venv. On Debian or Ubuntu: sudo apt-get install -y python3-venv" >&2
    exit 1
  fi
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# 3. torch for the CPU. On Linux the wheel on PyPI brings gigabytes of CUDA, so
# take a local wheel where pip is configured to find one, else PyTorch's own
# index, and PyPI's only where neither is there.
if ! .venv/bin/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
  say "Installing torch (CPU)"
  pip install -q --no-index --no-deps "torch>=2.4" 2>/dev/null ||
    { [[ $(uname -s) == Linux ]] && pip install -q --retries 1 --timeout 30 \
      --index-url https://download.pytorch.org/whl/cpu "torch>=2.4" 2>/dev/null; } ||
    pip install -q "torch>=2.4"
fi

# 4. This package, a Qt binding and the test tools.
say "Installing napari-unet-mri and what it needs (a few minutes the first time)"
pip install -q -e '.[all,test]'
say "Ready"
