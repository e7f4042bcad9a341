"""What a command's output may be: closed, full, unread, or of an encoding without our letters."""

import os
import subprocess
import sys

import pytest

from aoft_bench.cli.status import MARKS

HELP = f"{sys.executable} -m aoft_bench --help"
FULL = "aoft_bench: cannot write to stdout: No space left on device; not all of the output is there\n"


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a line of bash; with a pipe, the code of its first command."""
    line = f"set -o pipefail; {line}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ("| true", (0, "", "")),
        (">&-", (0, "", "")),
        (">/dev/full", (2, "", FULL)),
        (">/dev/full 2>&-", (2, "", "")),
        (">/dev/full 2>/dev/full", (2, "", "")),
    ],
)
def test_output_that_cannot_be_written_is_no_traceback(streams: str, expected: tuple[int, str, str]) -> None:
    assert shell(f"{HELP} {streams}") == expected


def test_an_error_that_cannot_be_written_keeps_its_code() -> None:
    assert shell(f"{sys.executable} -m aoft_bench tabels 2>&-") == (2, "", "")


def test_a_closed_stdout_is_not_the_next_file_that_is_opened(tmp_path: str) -> None:
    script = (
        "from aoft_bench.utils.streams import steady_streams; import os, subprocess; steady_streams(); "
        f"file = open({str(tmp_path)!r} + '/record', 'w'); print('no'); subprocess.run(['echo', 'no']); file.close(); "
        f"assert os.path.getsize({str(tmp_path)!r} + '/record') == 0"
    )
    assert shell(f'{sys.executable} -c "{script}" >&-') == (0, "", "")


def test_characters_that_the_encoding_lacks_stay_different() -> None:
    """Those of a grid of `status`: of question marks nobody could tell what is done."""
    script = (
        "from aoft_bench.utils.streams import steady_streams; from aoft_bench.cli.status import MARKS; "
        "steady_streams(); print(*MARKS.values(), '±é數', sep='')"
    )
    code, out, err = shell(f'{sys.executable} -c "{script}"', PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    marks, others = out[: len(MARKS)], out[len(MARKS) : -1]
    assert len(set(marks)) == len(MARKS) and others == r"+-e\u6578"
