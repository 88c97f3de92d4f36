"""The folder of the sockets may be taken away under a running daemon: by a log-out, by a clean-up."""

import shutil

from tests.e2e.house import FAST, House


def test_a_daemon_whose_runtime_folder_was_removed_comes_back_by_itself(home: House) -> None:
    home.write("models.d/fast.yaml", FAST)
    home.start()
    shutil.rmtree(home.root / "orchestrator")
    home.until(lambda: home.run("status").returncode == 0)
    home.until(lambda: home.chat("fast", "What is 3+4?")[0] == 200)
    home.until(lambda: home.run("status", "--check").returncode == 0)
