#!/bin/sh
# Tries a wheel for aarch64 on a Debian of another kind: `try-aarch64.sh WHEEL FOLDER`.
#
# Debian's Python for arm64 runs under qemu-user, with the wheels of what wcsup depends on. All of it is fetched to FOLDER;
# nothing is installed.
set -eu
wheel=$(realpath "$1")
lock=$(realpath "$(dirname "$0")/requirements.txt")
mkdir -p "$2/apt/lists/partial" "$2/apt/archives/partial" "$2/wheels" "$2/root" "$2/site"
cd "$2"

# apt as on an arm64 machine that has no package yet
touch apt/status
as_arm64() {
  "$@" -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o APT::Install-Recommends=false \
    -o Dir::State="$PWD/apt" -o Dir::State::status="$PWD/apt/status" -o Dir::Cache="$PWD/apt"
}
as_arm64 apt-get -qq update
as_arm64 apt-get -qq --download-only install python3 libstdc++6 > /dev/null
for package in apt/archives/*.deb; do
  dpkg-deb --extract "$package" root
done

version=$(ls root/usr/bin | sed -n 's/^python\(3\.[0-9]*\)$/\1/p')
pip download --quiet --require-hashes --only-binary :all: --dest wheels --requirement "$lock" \
  --python-version "$version" --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64
for one in wheels/*.whl "$wheel"; do
  python3 -m zipfile --extract "$one" site
done

# wcsup starts processes of Python: the interpreter is this script for them, too.
cat > python <<END
#!/bin/sh
PYTHONPATH="$PWD/site" exec qemu-aarch64 -L "$PWD/root" "$PWD/root/usr/bin/python3" "\$@"
END
chmod +x python
echo "import sys; sys.executable = '$PWD/python'" > site/sitecustomize.py
./python -m wcsup.cli --version
