# shellcheck shell=bash
# Sourced by the other scripts: sets $root, the checkout, and makes the virtual environment in
# $root/.venv when it is asked for. Talks on stderr only, because people parse what the scripts print.
# Bash 3.2 and Python's standard library are all it counts on.

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
venv=$root/.venv

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# ensure_installed NAME: install securechat as NAME says, "base" or an extra of pyproject.toml.
# A stamp for each NAME holds all that it was made from; when nothing changed, this starts no process.
ensure_installed() {
    wanted=$root$'\n'$(<"$root/pyproject.toml")
    is_installed "$1" || install_under_lock "$1"
}

is_installed() {
    [ -x "$venv/bin/python" ] && [ -e "$venv/whole" ] && [ -r "$venv/installed-$1" ] &&
        [ "$(<"$venv/installed-$1")" = "$wanted" ]
}

install_under_lock() {
    # Where .venv is activated, it must not be the Python that makes .venv anew.
    local python PATH=${PATH//"$venv/bin:"/}
    python=$(find_python)
    # Not every system has flock(1). The lock belongs to the open file, so it outlives this Python
    # and ends with the last process that has descriptor 9 open, however that one ends.
    exec 9>>"$root/.venv.lock"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    # Another run may have done the work while this one waited.
    is_installed "$1" || install "$python" "$1"
    exec 9>&-
}

install() {
    local python=$1 name=$2 package=.
    [ "$name" = base ] || package=".[$name]"
    printf 'Installing securechat and what it needs into %s ...\n' "$venv" >&2
    # "whole" is there only while no installation is under way. Without it the last one was
    # interrupted; with the name of another directory in it, the checkout was moved. Start afresh.
    if ! [ -x "$venv/bin/python" ] || ! [ -r "$venv/whole" ] || [ "$(<"$venv/whole")" != "$root" ]; then
        make_venv "$python"
    fi
    rm -f "$venv/whole"
    # From inside: pip takes a "[" in a path for the start of the extras.
    (cd "$root" && exec "$venv/bin/python" -m pip install -q -e "$package") \
        >"$venv/install.log" 2>&1 || {
        cat "$venv/install.log" >&2
        die "Could not install securechat; pip says why above. Correct that and run this again."
    }
    printf '%s\n' "$wanted" >"$venv/installed-$name"
    # Each extra brings the base along.
    printf '%s\n' "$wanted" >"$venv/installed-base"
    printf '%s\n' "$root" >"$venv/whole"
}

make_venv() {
    local output
    rm -rf "$venv"
    output=$("$1" -m venv "$venv" 2>&1) || {
        printf '%s\n' "$output" >&2
        die_without_venv "$1"
    }
}

die_without_venv() {
    local version
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    die "Python $version cannot make virtual environments: install its venv package" \
        "(Debian, Ubuntu: apt install python$version-venv), then run this again."
}

# Print the first Python that is new enough and can make virtual environments.
find_python() {
    local name incomplete=
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        # Run it to know: a name on PATH may be a pyenv shim without a Python behind it.
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        fi
        incomplete=${incomplete:-$name}
    done
    [ -z "$incomplete" ] || die_without_venv "$incomplete"
    die "securechat needs Python 3.11 or newer, and none was found:" \
        "install one (Debian, Ubuntu: apt install python3 python3-venv), then run this again."
}
