import contextlib
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from topogen import cli, startup
from topogen.cli import run
from topogen.cli.checking import Expectation, parse_betti, parse_memory
from topogen.homology import Homology
from topogen.manifolds.spaces import SPACES


@pytest.fixture(scope="module")
def folder(circle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    np.save(folder / "circle.npy", circle.numpy())
    return folder


@pytest.fixture(scope="module")
def model(folder):
    path = folder / "m.safetensors"
    report = folder / "r.html"
    command = ["learn", str(folder / "circle.npy"), "-o", str(path), "--report", str(report)]
    assert run(command) == 0
    assert report.exists()
    assert not path.with_name("m.safetensors.checkpoint").exists()
    return path


def test_inspect(folder, capsys):
    assert run(["inspect", str(folder / "circle.npy")]) == 0
    out, err = capsys.readouterr()
    assert "dimension                1" in out
    assert err == ""


def test_learn_sample_check(model, folder, capsys):
    samples = folder / "samples.csv"
    assert run(["sample", str(model), "-n", "2000", "-o", str(samples), "--seed", "3"]) == 0
    first = samples.read_bytes()
    assert run(["sample", str(model), "-n", "2000", "-o", str(samples), "--seed", "3"]) == 0
    assert samples.read_bytes() == first
    assert run(["check", str(samples), "--expect", "circle"]) == 0
    assert run(["check", str(samples), "--against", str(folder / "circle.npy")]) == 0
    assert run(["check", str(samples), "--betti", "1,1"]) == 0
    assert run(["check", str(samples), "--betti", "2:1,1", "--betti", "3:1,1"]) == 0
    assert run(["check", str(samples)]) == 0
    assert "agrees" in capsys.readouterr().out
    assert run(["check", str(samples), "--betti", "2,2"]) == 1
    assert run(["check", str(samples), "--expect", "hopf"]) == 1


@pytest.mark.slow
def test_check_writes_pictures_numbers_and_a_page(folder, tmp_path, capsys):
    data = folder / "circle.npy"
    files = {name: tmp_path / "deep" / name for name in ("d.png", "b.svg", "r.html", "n.json")}
    options = ["--plot", "d.png", "--barcode", "b.svg", "--report", "r.html", "--json", "n.json"]
    command = ["check", str(data), *(str(files.get(o, o)) for o in options)]
    limits = ["--max-seconds", "60", "--max-memory", "300M", "--trim", "0.01", "--extras"]
    assert run([*command, *limits, "--betti", "1,1", "--seed", "5", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(str(path) in out for path in files.values())
    assert files["d.png"].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files["b.svg"].read_text()
    numbers = json.loads(files["n.json"].read_text())
    assert (numbers["verdict"], numbers["betti"]["3"], numbers["outliers"]) == (
        "agrees",
        [1, 1],
        8,
    )
    page = files["r.html"].read_text()
    assert "agrees" in page
    assert "fasy" in numbers["extras"]
    assert "--betti 1,1 --max-seconds 60.0 --max-memory 314572800 --trim 0.01 --extras" in page


@pytest.mark.slow
def test_check_against_shows_both_clouds(folder, tmp_path):
    t = np.random.default_rng(0).random(1000) * 2 * math.pi
    two = np.stack([np.cos(t) + 4 * (t < math.pi), np.sin(t), 0 * t], axis=1)
    np.save(tmp_path / "circle.npy", two)  # two arcs, in R^3, under the same name
    page, plot = tmp_path / "r.html", tmp_path / "p.png"
    command = ["check", str(folder / "circle.npy"), "--against", str(tmp_path / "circle.npy")]
    assert run([*command, "--plot", str(plot), "--report", str(page)]) == 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "against circle.npy" in page.read_text()


@pytest.mark.slow
def test_a_claim_has_one_exit_status_in_any_form(folder, tmp_path):
    t = 4.7 * np.random.default_rng(0).random(2500)
    np.save(tmp_path / "arc.npy", np.c_[np.cos(t), np.sin(t)])
    data = str(tmp_path / "arc.npy")
    assert run(["check", data, "--expect", "circle"]) == 1
    assert run(["check", data, "--betti", "1,1"]) == 1


@pytest.mark.slow
def test_points_left_out_are_red_on_the_page_and_may_fail(folder, tmp_path, capsys):
    x = np.load(folder / "circle.npy")
    x = np.concatenate([x, np.random.default_rng(0).uniform(-2, 2, (30, 2))])
    np.save(tmp_path / "off.npy", x)
    page = tmp_path / "off.html"
    command = ["check", str(tmp_path / "off.npy"), "--betti", "1,1", "--report", str(page)]
    assert run(command) == 0
    assert "that were left out are red" in page.read_text()
    assert run([*command, "--max-outliers", "0.01"]) == 1
    assert "--max-outliers 0.01" in page.read_text()
    assert "off the manifold" in capsys.readouterr().out


def test_check_is_quiet_when_told(folder, monkeypatch):
    from topogen.topology.inference import check

    asked = []

    def progress_line(wanted):
        asked.append(wanted)
        return contextlib.nullcontext(lambda stage: None)

    monkeypatch.setattr(check, "progress_line", progress_line)
    data = str(folder / "circle.npy")
    assert run(["check", data, "--quiet"]) == run(["check", data]) == 0
    assert asked == [False, None]  # None: on a terminal only


def test_check_out_of_time_is_undetermined(folder, tmp_path):
    page, plot = tmp_path / "r.html", tmp_path / "p.png"
    command = ["check", str(folder / "circle.npy"), "--expect", "circle"]
    assert run([*command, "--max-seconds", "1e-9", "--report", str(page)]) == 3
    assert run([*command, "--max-seconds", "1e-9", "--plot", str(plot)]) == 3
    assert "undetermined" in page.read_text()


@pytest.mark.parametrize(
    ("text", "size"),
    [("300M", 300 * 2**20), ("1.5g", 3 * 2**29), ("2097152", 2**21), ("4096kb", 2**22)],
)
def test_memory_sizes(text, size):
    assert parse_memory(text) == size


def test_undetermined(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "few.npy", rng.normal(size=(30, 3)))
    assert run(["check", str(tmp_path / "few.npy"), "--expect", "torus"]) in (1, 3)
    t = rng.random(14) * 2 * math.pi
    np.save(tmp_path / "few.npy", np.stack([np.cos(t), np.sin(t)], 1))
    assert run(["check", str(tmp_path / "few.npy"), "--expect", "circle"]) == 3


BAD = [
    (["inspect", "missing.npy"], "there is none"),
    (["inspect", "."], "got a directory"),
    (["inspect", "empty.npy"], "empty file"),
    (["inspect", "text.npy"], "expected"),
    (["inspect", "words.csv"], "expected numbers, got 'b'"),
    (["inspect", "nan.npy"], "NaN or infinity in 1 of 3 rows"),
    (["inspect", "one.npy"], "at least 2 points, got 1"),
    (["inspect", "equal.npy"], "points"),
    (["inspect", "cube.npy"], "expected shape"),
    (["inspect"], "DATA"),
    (["frobnicate"], "frobnicate"),
    (["learn", "nan.npy", "-o", "m.safetensors"], "NaN"),
    (["learn", "few.npy", "-o", "m.safetensors"], "points"),
    (["learn", "few.npy"], "-o"),
    (
        ["learn", "few.npy", "-o", "m.safetensors", "--family", "gan"],
        "expected --family auto or one of",
    ),
    (["learn", "few.npy", "-o", "."], "got a directory"),
    (["learn", "few.npy", "-o", "empty.npy/m.safetensors"], "folder to write to"),
    (["sample", "missing.safetensors", "-o", "x.npy"], "there is none"),
    (["sample", "text.npy", "-o", "x.npy"], "truncated or of another kind"),
    (["sample", "text.npy", "-o", "x.xyz"], "got .xyz"),
    (["sample", "text.npy", "-o", "x.npy", "-n", "0"], "-n"),
    (["check", "few.npy", "--expect", "doughnut"], "expected --expect with one of circle"),
    (["check", "few.npy", "--betti", "1,x"], "got '1,x' (whole numbers with commas between them)"),
    (["check", "few.npy", "--betti", "1-2-1"], "got '1-2-1' (whole numbers with commas"),
    (["check", "few.npy", "--betti", "1 2 1"], "got '1 2 1' (whole numbers with commas"),
    (["check", "few.npy", "--betti", "1,2,"], "whole numbers with commas between them"),
    (["check", "few.npy", "--betti", "1,-1"], "whole numbers with commas between them"),
    (["check", "few.npy", "--betti", "z:1,1"], "whole numbers with commas between them"),
    (["learn", "few.npy", "-o", "m.pt"], "expected a .safetensors file, got .pt"),
    (["check", "few.npy", "--betti", "4:1,1"], "prime"),
    (["check", "few.npy", "--betti", "1,1", "--expect", "circle"], "choose one"),
    (["check", "few.npy", "--alpha", "2"], "alpha"),
    (["check", "few.npy", "--alpha", "0.5"], "alpha"),
    (["check", "few.npy", "--max-seconds", "0"], "--max-seconds > 0"),
    (["check", "few.npy", "--max-memory", "lots"], "such as 300M"),
    (["check", "few.npy", "--max-memory", "10K"], "at least 1M"),
    (["check", "few.npy", "--trim", "half"], "--trim auto or a fraction"),
    (["check", "few.npy", "--trim", "0.5"], "--trim auto or a fraction"),
    (["check", "few.npy", "--max-outliers", "2"], "--max-outliers <= 1"),
    (["check", "few.npy", "--metric", "taxi"], "euclidean or diffusion"),
    (["check", "few.npy", "--plot", "picture.doc"], "expected a picture"),
    (["check", "few.npy", "--barcode", "picture"], "no suffix"),
    (["check", "few.npy", "--report", "empty.npy/r.html"], "folder to write to"),
    (["check", "few.npy", "--json", "."], "got a directory"),
    (["check", "few.npy", "--against", "missing.npy"], "there is none"),
    (["demo", "doughnut"], "expected one of circle"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[" ".join(c) for c, _ in BAD])
def test_bad_input_is_one_line_and_status_2(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "words.csv").write_text("1,2\n3,b\n")
    np.save("nan.npy", [[0.0, 1.0], [math.nan, 1.0], [1.0, 1.0]])
    np.save("one.npy", np.zeros((1, 2)))
    np.save("equal.npy", np.zeros((50, 2)))
    np.save("cube.npy", np.zeros((5, 2, 2)))
    np.save("few.npy", np.random.default_rng(0).normal(size=(4, 3)))
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("topogen: ")
    assert err.count("\n") == 1
    assert message in err


def _raise(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            RuntimeError("boom\nmore"),
            70,
            "internal error (RuntimeError: boom); run again with --debug",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_other_failures(error, status, message, folder, monkeypatch, capsys):
    monkeypatch.setattr("topogen.cli.load_points", _raise(error))
    assert run(["inspect", str(folder / "circle.npy")]) == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_training_failure_is_4(folder, tmp_path, capsys):
    command = ["learn", str(folder / "circle.npy"), "-o", str(tmp_path / "m.safetensors")]
    assert run([*command, "--max-seconds", "0.001"]) == 4
    assert "give it more time" in capsys.readouterr().err


def test_debug_lets_errors_through(folder, monkeypatch):
    monkeypatch.setattr("topogen.cli.load_points", _raise(RuntimeError("boom")))
    with pytest.raises(RuntimeError, match="boom"):
        run(["inspect", str(folder / "circle.npy")], debug=True)


def test_betti_claims():
    assert parse_betti(["1,2,1"]) == Homology((1, 2, 1))
    assert parse_betti(["2:1,2,1", "3:1,1,0"]) == Homology({2: (1, 2, 1), 3: (1, 1, 0)})


def test_spaces_and_betti_numbers_are_read_in_any_case(folder):
    data = str(folder / "circle.npy")
    for claim in (["--expect", "Circle"], ["--betti", "1, 1"], ["--betti", "2: 1,1"]):
        assert run(["check", data, *claim]) == 0
    assert Expectation(None, "Projective_Plane", ()).homology().dim == 2


def test_help_names_the_spaces(capsys):
    assert run(["check", "--help"]) == 0
    words = capsys.readouterr().out.replace("\n", " ")
    assert all(name.split("-")[0] in words for name in SPACES)


def test_a_bare_call_prints_its_help_alone(capsys):
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert "inspect" in out + err
    assert "topogen: " not in err


@pytest.mark.slow
def test_a_tilde_is_the_home_of_the_user(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle.npy").write_bytes((folder / "circle.npy").read_bytes())
    command = ["check", "~/circle.npy", "--against=~/circle.npy", "--json=~/deep/n.json"]
    assert run([*command, "--plot=~/deep/p.png", "--report=~/deep/r.html"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"circle.npy", "deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"n.json", "p.png", "r.html"}


@pytest.mark.slow
def test_the_backend_of_a_notebook_does_no_harm(folder, tmp_path):
    picture = tmp_path / "p.png"
    command = ["check", str(folder / "circle.npy"), "--betti", "1,1", "-q", "--plot", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "topogen", *command],
        env=os.environ | {"MPLBACKEND": "of-a-notebook"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_help_and_version(capsys):
    assert run(["--help"]) == 0
    assert "inspect" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("topogen 0.")


@pytest.mark.slow
def test_ctrl_c_and_resume_from_the_shell(folder, tmp_path, capsys, monkeypatch):
    from topogen.models.projected_atlas import ProjectedAtlas

    model = tmp_path / "m.safetensors"
    command = ["learn", str(folder / "circle.npy"), "-o", str(model)]

    def stop(self, points, generator):
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(ProjectedAtlas, "_fit", stop)
        assert run(command) == 130
    assert "m.safetensors.checkpoint" in capsys.readouterr().err
    assert not model.exists()
    assert run([*command, "--resume"]) == 0
    assert model.exists()


@pytest.mark.slow
def test_program_prints_errors_without_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "topogen", "inspect", "nowhere.npy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert cli.BAD_INPUT == 2


@pytest.mark.parametrize(
    ("argv", "orig", "is_topogen"),
    [
        (["/bin/topogen", "inspect"], ["python", "/bin/topogen", "inspect"], True),
        (["-m", "inspect", "x"], ["python", "-m", "topogen", "inspect", "x"], True),
        (["-m", "inspect"], ["python", "-mtopogen", "inspect"], True),
        (["-m"], ["python", "-B", "-Im", "topogen"], True),
        (["-m"], ["python", "-Imtopogen"], True),
        (["-m"], ["python", "-mother"], False),
        (["-m", "topogen"], ["python", "-m", "other", "topogen"], False),
        (["script.py"], ["python", "script.py"], False),
        ([], ["python"], False),
    ],
)
def test_whether_the_process_is_the_program(argv, orig, is_topogen, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig)
    assert startup.is_program() is is_topogen


def test_ctrl_c_while_torch_is_imported(tmp_path):
    stop = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "torch.py").write_text(stop)
    here = os.path.dirname(os.path.dirname(cli.__file__))
    path = os.pathsep.join([str(tmp_path), os.path.dirname(here)])
    for command in (["-m", "topogen", "inspect", "x.npy"], ["-c", "import topogen"]):
        done = subprocess.run(
            [sys.executable, *command],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            # background jobs of a shell ignore it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        if command[0] == "-m":
            assert (done.returncode, done.stderr) == (130, "topogen: interrupted\n")
        else:  # a program that imports the library is left alone
            assert "KeyboardInterrupt" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["circle", "sphere", "torus", "klein", "alanine"])
def test_demo_agrees(name, tmp_path):
    assert run(["demo", name, "-o", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.html").exists()
    assert (tmp_path / f"{name}.png").exists()
