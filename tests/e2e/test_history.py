"""A history that cannot be written never stops serving, and says so; whatever else is wrong with it."""

from tests.e2e.house import House


def test_a_history_that_cannot_be_written_stops_nothing_and_says_so(home: House) -> None:
    home.state.mkdir(parents=True, mode=0o700)
    obstacle = home.state / "history"
    obstacle.write_text("a file where the folder should be")
    home.start()
    assert [home.chat("fast", "Uppercase abc")[0] for _ in range(5)] == [200] * 5
    assert home.status()["history"]["ok"] is False
    shown = home.run("status").stdout
    assert "history" in shown
    assert "a file stands where the folder should be" in shown
    assert home.run("status", "--check").returncode == 4
    assert "a file stands where the folder should be" in home.log()
    refused = home.run("sql", "select count(*) from requests")
    assert refused.returncode == 1
    assert "fix:" in refused.stderr

    obstacle.unlink()
    home.until(lambda: home.status()["history"]["ok"])
    counted = home.run("sql", "--csv", "select count(*) from requests")
    assert counted.stdout.split()[-1] == "5", "what waited is written"
    assert home.stop() == 0
