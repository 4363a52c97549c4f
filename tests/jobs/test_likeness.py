"""Tests of `likeness COMMAND`: the table of commands, what --help imports, unknown commands and completion."""

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import completion, likeness
from jobs.likeness import COMMANDS, Command

ROOT = Path(__file__).parent.parent.parent
LIKENESS = ROOT / "jobs" / "likeness.py"
WIDTH = 79


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands set sys.argv, and preflight may end the process at once; neither must reach the other tests."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(os, "_exit", sys.exit)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_exists_and_explains_itself_under_its_name(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(getattr(importlib.import_module(command.module), command.function))
    with pytest.raises(SystemExit) as ended:
        likeness.main([command.name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: likeness {command.name} ")
    parser = command.make_parser()
    assert parser.description and parser.description in " ".join(text.split())


def test_commands_called_as_modules_keep_their_names() -> None:
    sys.argv[0] = "anything.py"
    names = {command.name: command.make_parser().prog for command in COMMANDS}
    assert names["enrol"] == "python -m identity.enrol" and names["augment"] == "jobs/augment.py"
    assert names["synthetic"] == "python -m datasets.synthetic"


def test_the_table_of_contents_has_one_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert likeness.main(["--help"]) == 0
    lines = capsys.readouterr().out.split("\n")
    for command in COMMANDS:
        assert sum(line.split(maxsplit=1) == [command.name, command.summary] for line in lines) == 1
    assert [line for line in lines if line.startswith("  ") and len(line) > WIDTH] == []
    groups = [command.group for command in COMMANDS]
    assert len({c.name for c in COMMANDS}) == len(COMMANDS)
    assert len(list(itertools.groupby(groups))) == len(set(groups))


def test_help_imports_no_module_of_the_project() -> None:
    program = (
        "import sys\nfrom jobs.likeness import main\nmain(['--help'])\n"
        "own = {m for m in sys.modules if m.split('.')[0] in ('augmentor', 'identity', 'jobs')}\n"
        "print(sorted(own), 'numpy' in sys.modules, 'argparse' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.split("\n")[-2] == "['jobs', 'jobs.likeness'] False False"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "likeness: no command 'trian'; did you mean train?\n"),
        (["orgnize", "x"], "likeness: no command 'orgnize'; did you mean organise?\n"),
        (["xyz"], "likeness: no command 'xyz'; likeness --help lists the commands\n"),
    ],
)
def test_an_unknown_command_is_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert likeness.main(words) == 2
    assert capsys.readouterr() == ("", line)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert likeness.main(["--version"]) == 0
    assert f'version = "{capsys.readouterr().out.split()[1]}"' in text


def test_exit_codes_of_commands_are_passed_on_from_any_folder(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, LIKENESS, "synthetic", "--out", tmp_path / "p", "--workers", "0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (2, "--workers 0: must be at least 1\n")


def test_every_shell_completes_commands_and_options() -> None:
    for shell in completion.SHELLS:
        script = completion.script(shell)
        for command in COMMANDS:
            assert command.name in script, (shell, command.name)
        assert "embed-renders" in script, shell


def test_bash_completes_what_was_begun(tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(completion.script("bash"))
    program = (
        f'source {file}; COMP_WORDS=(likeness tr); COMP_CWORD=1; _shtab_likeness; echo "${{COMPREPLY[@]}}"\n'
        'COMP_WORDS=(likeness train --emb); COMP_CWORD=2; _shtab_likeness; echo "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert result.stdout == "train\n--embed-renders\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = likeness.main([command.name, "--no-such-option"])
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
