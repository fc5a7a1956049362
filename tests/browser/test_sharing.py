"""Several people at once, and who may reach the app."""

import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import expect

import workbench
from apps.text import short, visible
from tests.browser.driving import PATIENCE, opened, settled

pytestmark = pytest.mark.browser

PROMPT = "one two three four. one two three"


def test_only_this_machine_is_listened_to(app):
    """The kernel's own table of listening sockets, for the app's process."""
    inodes = {
        match[1]
        for link in Path(f"/proc/{app.pid}/fd").iterdir()
        if (match := re.match(r"socket:\[(\d+)\]", _target(link)))
    }
    listening = []
    for table, loopback in (("tcp", ("0100007F",)), ("tcp6", ("00000000000000000000000001000000",))):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                listening.append((words[1].split(":")[0] in loopback, words[1]))
    assert listening
    assert all(local for local, _ in listening), listening


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_an_outside_address_is_refused(app):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # a datagram socket: nothing is sent, only a route is chosen
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.fail("This machine has no address but its own, so the test shows nothing.")
    with socket.socket() as probe:
        probe.settimeout(3)
        assert probe.connect_ex((address, app.port)) != 0


def test_one_ablates_while_another_reads_and_both_are_right(app, window):
    """Windows take turns at the same shared model; each shows what a model of its own gives."""
    model = workbench.load("micro")
    heads = [f"blocks.1.attn.z:{head}" for head in range(4)]
    reader, writer = window(), window()
    reader.goto(app.url("lens", prompt=PROMPT))
    for i in range(len(heads)):
        sites = " ".join(heads[: i + 1])
        writer.goto(app.url("ablate", prompt=PROMPT, sites=sites))  # both load at once
        reader.goto(app.url("lens", prompt=PROMPT + "!" * i, cell="2.4"))
        for page in (writer, reader):
            page.wait_for_selector('[data-testid="stHeading"]', timeout=PATIENCE)
            settled(page)
        expected = workbench.ablate(model, PROMPT, sites=tuple(heads[: i + 1]))
        assert expected.kl is not None
        shown = writer.locator('[data-testid="stMetricValue"]').nth(1).inner_text()
        assert shown == f"{expected.kl[expected.position].item():.3f} nats"
        answers = workbench.logit_lens(model, PROMPT + "!" * i).answers[-1]
        cells = reader.locator(".cell")
        expect(cells.first).to_be_visible(timeout=PATIENCE)
        top_row = cells.all_inner_texts()[: len(answers)]
        assert top_row == [answer[0].replace(" ", "␣") for answer in answers]


def test_what_one_user_types_is_not_seen_by_another(app, visit):
    first = visit("overview", prompt="a secret of the first user")
    second = visit("overview")
    expect(second.get_by_text("Type a sentence above")).to_be_visible(timeout=PATIENCE)
    assert "secret" not in second.content()
    assert first.get_by_label("Prompt", exact=True).input_value() == "a secret of the first user"


def test_a_user_who_leaves_in_the_middle_leaves_the_model_clean(app, window):
    page = opened(window(), app.url("ablate", prompt=PROMPT, sites="blocks.0.attn_out"))
    page.goto(app.url("analysis-logit-lens", prompt=PROMPT * 10))
    page.goto("about:blank")
    other = opened(window(), app.url("lens", prompt=PROMPT))
    answers = workbench.logit_lens(workbench.load("micro"), PROMPT).answers[-1]
    shown = other.locator(".cell").all_inner_texts()[: len(answers)]
    assert shown == [answer[0].replace(" ", "␣") for answer in answers]


@pytest.mark.real
def test_stop_ends_the_work_and_leaves_the_model_clean(app, window):
    name, text = "smollm2-135m", "The keeper climbed the narrow stairs to light the lamp. " * 120
    page = opened(window(), app.url("lens", model=name, prompt="The capital of France is"))
    answers = page.locator(".cell").all_inner_texts()
    page.goto(app.url("overview", model=name, prompt=text))
    page.get_by_role("button", name="Stop").click(timeout=PATIENCE)
    expect(page.get_by_text("Stopped. Nothing was changed.")).to_be_visible(timeout=PATIENCE)
    assert page.locator("[data-head]").count() == 0
    opened(page, app.url("lens", model=name, prompt="The capital of France is", top_k="4"))  # not the kept result
    assert page.locator(".cell").all_inner_texts() == answers
    model = workbench.load(name)
    expected = workbench.logit_lens(model, "The capital of France is").answers[-1]
    assert [short(visible(a[0]), 9) for a in expected] == answers[: len(expected)]
