"""meta-postern without BitBake, which no package registry has: the lint of OpenEmbedded's style for both releases, and what must
agree with the rest of the repository (crates, files, versions, licence)."""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LAYER = HERE / "meta-postern"
RECIPE = LAYER / "recipes-postern/postern/postern_0.1.0.bb"
LINTED = sorted(p for p in LAYER.rglob("*") if p.suffix in (".bb", ".bbappend", ".inc", ".conf") and "files" not in p.parts)
# Rules that do not fit, and why.
UNFIT = {
    "oelint.vars.mispell": "knows only variables of its own list",
    "oelint.vars.mispell.unknown": "the same",
    "oelint.vars.autorev": "the source is the checkout that the layer lies in; a release pins it",
    "oelint.vars.layerconf": "only layer.conf knows where the layer lies",
    "oelint.var.mandatoryvar.HOMEPAGE": "there is none yet",
}


def crates(tree, *arguments):
    return subprocess.run([sys.executable, tree / "yocto-layer/tools/crates", *arguments], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """What the tool for the crate list looks at, to be spoilt."""
    for name in ["Cargo.lock", "yocto-layer/tools/crates", "yocto-layer/meta-postern/recipes-postern/postern/postern-crates.inc"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_recipes_crates_are_those_of_the_lock_file():
    done = crates(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_another_lock_file_is_noticed_and_mended(copy):
    lock = copy / "Cargo.lock"
    lock.write_text(lock.read_text() + '\n[[package]]\nname = "zzz"\nversion = "9.9.9"\nsource = "registry+x"\nchecksum = "00ff"\n')
    done = crates(copy, "--check")
    assert done.returncode == 1 and "run yocto-layer/tools/crates" in done.stderr
    assert crates(copy).returncode == 0
    assert crates(copy, "--check").returncode == 0
    written = (copy / "yocto-layer/meta-postern/recipes-postern/postern/postern-crates.inc").read_text()
    assert 'SRC_URI[zzz-9.9.9.sha256sum] = "00ff"' in written


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ('\n[[package]]\nname = "zzz"\nversion = "9.9.9"\nsource = "git+ssh://somewhere"\n', "zzz 9.9.9 comes from git+ssh"),
        ("\n[[package", "Cargo.lock"),
    ],
)
def test_what_bitbake_could_not_fetch_is_refused(copy, spoilt, said):
    lock = copy / "Cargo.lock"
    lock.write_text(lock.read_text() + spoilt)
    done = crates(copy)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_argument_shows_the_usage():
    done = crates(ROOT, "--chekc")
    assert done.returncode == 2 and "Usage" in done.stderr


@pytest.mark.parametrize("release", ["wrynose", "blacksail"])
def test_lint(release):
    lint = [Path(sys.executable).with_name("oelint-adv"), "--quiet", "--relpaths", "--hide", "info", "--release", release]
    for rule in UNFIT:
        lint += ["--suppress", rule]
    done = subprocess.run([*lint, *(p.relative_to(LAYER) for p in LINTED)], cwd=LAYER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert release in re.search(r'LAYERSERIES_COMPAT_postern = "(.*)"', (LAYER / "conf/layer.conf").read_text()).group(1).split()


def test_the_lint_sees_a_bad_recipe(tmp_path):
    bad = tmp_path / "bad_1.0.bb"
    bad.write_text(RECIPE.read_text().replace("LICENSE = ", "LICENCE = "))
    done = subprocess.run([Path(sys.executable).with_name("oelint-adv"), "--quiet", "--hide", "info", bad], capture_output=True, text=True)
    assert done.returncode != 0 and "LICENSE" in done.stdout + done.stderr


def test_what_the_recipe_installs_is_there_and_is_what_the_debian_package_has():
    recipe = RECIPE.read_text()
    taken = set(re.findall(r"\$\{S\}/(\S+)", recipe))
    for name in taken:
        assert list(ROOT.glob(name)), f"the recipe installs {name}, which is not in the repository"
    packed = (ROOT / "image/deb/build").read_text()
    for name in re.findall(r"cp (systemd/\S+|image/deb/postern\.yaml)", packed):
        assert name in taken, f"the Debian package has {name}, the recipe does not"
    for program in ["posternd", "postern"]:
        assert f"--package {program}" in recipe and f"${{CARGO_TARGET_SUBDIR}}/{program}" in recipe


def test_versions_and_licence_agree():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert RECIPE.name == f"postern_{version}.bb"
    assert f'PV = "{version}+git"' in RECIPE.read_text()
    assert f'DISTRO_VERSION ?= "{version}"' in (LAYER / "conf/distro/postern.conf").read_text()
    md5 = hashlib.md5((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert f"file://LICENSE;md5={md5}" in RECIPE.read_text()


def test_a_slot_is_named_alike_by_image_update_and_kernel():
    """The partition that the image makes, the one an update is written to, and the one the kernel looks for: one name."""
    image = (LAYER / "recipes-postern/images/postern-image.bb").read_text()
    disk = (LAYER / "wic/postern-appliance.wks.in").read_text()
    update = ROOT / "image/appliance/usr/lib/sysupdate.d"
    assert "--part-name postern_${DISTRO_VERSION}" in disk
    assert "root=PARTLABEL=postern_${DISTRO_VERSION}" in image
    assert "\nMatchPattern=postern_@v\n" in (update / "50-root.transfer").read_text()
    assert "EFI/Linux/postern_${DISTRO_VERSION}+3.efi" in image
    assert "postern_@v+@l-@d.efi" in (update / "70-kernel.transfer").read_text()


def test_the_kernel_fragment_says_each_thing_once():
    lines = [s for s in (LAYER / "recipes-kernel/linux/files/postern.cfg").read_text().splitlines() if s and not s.startswith("#")]
    assert all(re.fullmatch(r"CONFIG_[A-Z0-9_]+=[ym]", line) for line in lines), lines
    names = [line.split("=")[0] for line in lines]
    assert len(names) == len(set(names))
