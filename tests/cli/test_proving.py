"""`sma check` on rules: a summary, findings with their place, `--why` with a script that runs."""

import pytest

TABLE = """\
name = "early"
initial = "checking"
rules = [
  "leads_to(pay.ok, mail.ok)",
  "only_after(pay, look.ok where result.eligible)",
  "never_after(mail.ok, look)",
  "not_both(approval.granted, mail)",
]
transitions = [
  { source = "checking", event = "look.ok", target = "paying" },
  { source = "paying",   event = "pay.ok",  target = "mailing" },
  { source = "mailing",  event = "mail.ok", target = "complete" },
]

[states]
checking = { ask = "Check it.", tools = ["look"] }
paying   = { ask = "Pay.", tools = ["pay"] }
mailing  = { ask = "Tell them.", tools = ["mail"] }
complete = { final = "success" }
"""


@pytest.fixture
def file(tmp_path):
    """Return a table file with one rule of each fate."""
    path = tmp_path / "early.toml"
    path.write_text(TABLE, encoding="utf-8")
    return str(path)


def test_the_shipped_workflow_has_proven_rules_only(sma):
    """One line says how many."""
    said = sma("check", "refund")
    assert said.code == 0
    assert said.out.endswith("0 errors, 0 warnings; 3 rules: 3 proven\n")


def test_a_rule_that_a_run_breaks_is_a_warning_at_its_place(sma, file):
    """The line of the rule, and how the run ends; the table may still run."""
    said = sma("check", file)
    assert said.code == 0
    assert "warning[rule-refuted]: a run can break it" in said.out
    assert f"{file}:4:3 (rules[0])" in said.out
    assert "warning[rule-vacuous]" in said.out
    assert "rule-by-gate" not in said.out
    assert "4 rules: 2 proven, 1 kept by the gate, 1 refuted" in said.out
    assert sma("check", file, "--strict").code == 1


def test_a_rule_that_only_the_gate_keeps_is_a_remark(sma, file):
    """Shown with `--all`."""
    said = sma("check", file, "--all")
    assert "info[rule-by-gate]" in said.out


def test_what_a_table_allows_of_its_rules(sma, file, tmp_path):
    """A remark with its reason; rules that contradict each other are an error all the same."""
    allowance = '{ code = "rule-refuted", reason = "mail is sent by hand", where = "rules[0]" }'
    path = tmp_path / "allowed.toml"
    path.write_text(f"{TABLE}\n[check]\nallow = [{allowance}]\n", encoding="utf-8")
    said = sma("check", str(path), "--all")
    assert "rule-refuted]" not in said.out
    assert "info[allowed]: rule-refuted is allowed: mail is sent by hand" in said.out
    both = TABLE.replace('"leads_to(pay.ok, mail.ok)"', '"must(mail)", "never(pay)"')
    allowance = '{ code = "rules-contradict", reason = "no" }'
    path.write_text(f"{both}\n[check]\nallow = [{allowance}]\n", encoding="utf-8")
    said = sma("check", str(path))
    assert said.code == 1
    assert "error[rules-contradict]" in said.out
    assert "error[allow-error]: 'rules-contradict' is an error here" in said.out


def test_json_has_an_object_a_rule(sma, file):
    """With its verdict, before the counts."""
    rules = [each for each in sma("check", file, "--json").objects if each["event"] == "rule"]
    assert [(each["rule"], each["verdict"], each["gated"]) for each in rules] == [
        (1, "refuted", False), (2, "refuted", True), (3, "proven", False), (4, "proven", False),
    ]  # fmt: skip


def test_why_shows_the_way_the_diagram_and_a_script(sma, file):
    """In words, with the path marked, and as a test to paste."""
    said = sma("check", file, "--why", "1")
    assert said.code == 1
    assert "  7. mailing: limit.refusals (default) -> failed" in said.out.replace("\n7.", "\n  7.")
    assert "what the rule asks for is still due" in said.out
    assert "flowchart TD" in said.out
    assert "class checking,paying,mailing visited" in said.out
    assert "played = play(\n    unruled(workflow)," in said.out
    assert "assert not conform(played.journal, workflow.rules).kept" in said.out


def test_why_of_a_proven_rule_says_so(sma, file):
    """Nothing to show, exit 0; in JSON the same facts."""
    said = sma("check", file, "--why", "3")
    assert (said.code, said.out) == (0, "rule 3: never_after(mail.ok, look): proven\n")
    (told,) = sma("check", file, "--why", "2", "--json").objects
    assert told["gated"] is True
    assert told["way"][-1] == "paying: pay"
    assert told["script"]


def test_why_about_no_rule_is_a_usage_error(sma, file):
    """A number out of range, two tables, a table with errors."""
    said = sma("check", file, "--why", "9")
    assert said.code == 2
    assert "'early' has 4 rules, from 1 on" in said.all
    assert sma("check", file, file, "--why", "1").code == 2
