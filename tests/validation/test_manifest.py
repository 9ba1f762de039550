"""Manifests: what is wrong with one, which rows a run has, and what is looser than the built-in one."""

import itertools
import tomllib
from dataclasses import replace

import pytest

from less_sync.validation.catalogue import table
from less_sync.validation.inputs import Inputs, read_inputs
from less_sync.validation.manifest import BUILT_IN, Declared, ManifestErrors, declared
from less_sync.validation.matrix import Manifest
from less_sync.validation.policy import Change, compare, digest, is_looser
from less_sync.validation.procedure import Looser, Place
from less_sync.validation.rows import manifest_of
from less_sync.validation.toml_lines import key_lines
from tests.validation.matrices import CATALOGUE, procedure

HEAD = """\
format = 1
kind = "upgrade"
name = "small"
title = "A small one"
valid_for_s = 60

[targets.staging]
base_url = "${STAGING_BASE_URL}"
writes = "throwaway"
"""
HEALTH = """
[[checks]]
id = "service-staging-health"
uses = "health"
target = "staging"
"""


def read(text: str, *settings: tuple[str, str], **environment: str) -> Declared:
    return declared(text, "own.toml", catalogue=CATALOGUE, environment=environment, settings=settings)


def matrix(text: str, *, stage: str = "before", previous: bool = True, **environment: str) -> Manifest:
    inputs, problems = read_inputs(environment, {})
    assert not problems
    return manifest_of(read(text, **environment), stage=stage, inputs=inputs, previous=previous)


def test_a_row_has_the_defaults_of_its_procedure() -> None:
    (check,) = read(HEAD + HEALTH).checks
    assert (check.lane, check.target, check.required, check.timeout_s) == ("service", "staging", True, 30)
    assert check.parameters == {"deadline_ms": 3000, "times": 5, "word": "x", "where": "here", "strict": True}
    assert check.description == "what health is for"


def test_all_that_is_wrong_is_told_at_once_with_its_line() -> None:
    text = """\
format = 2
kind = "cutoff"
name = "Small One"
title = "A small one"
surplus = true

[targets.staging]
base_url = "https://staging.example"
server = "perl"

[targets.elsewhere]
base_url = "https://elsewhere.example"

[[checks]]
id = "Health"
uses = "health"

[[checks]]
id = "headers"
uses = "headers"
target = "production"
timeout_s = 0
with = { deadline_ms = -1, surplus = 1, times = "five" }

[[checks]]
id = "retried"
uses = "health"
retry = { times = 4, on = ["connect"] }

[[checks]]
id = "unknown"
uses = "nothing"
required = "yes"
"""
    with pytest.raises(ManifestErrors) as caught:
        read(text)
    assert caught.value.problems == ("own.toml:5: surplus: there is no such key",)
    with pytest.raises(ManifestErrors) as caught:
        read(text.replace("surplus = true\n", "\n"))
    assert caught.value.problems == (
        "own.toml:1: format: must be 1",
        "own.toml:2: kind: must be one of cutover, upgrade, rollback, decommission, selfhost",
        "own.toml:3: name: must be of lower-case letters, digits and hyphens",
        "own.toml:1: valid_for_s: is missing",
        "own.toml:9: targets.staging.server: must be one of less-sync, rust, go",
        "own.toml:11: targets.elsewhere: there is no such target; "
        "there are staging, incumbent, production, candidate",
        "own.toml:15: check Health: id: must be at most 64 lower-case letters, digits and hyphens",
        "own.toml:21: check headers: target: 'production' is not declared under targets",
        "own.toml:22: check headers: timeout_s: must be 1 to 3600",
        "own.toml:23: check headers: with: deadline_ms must not be negative",
        "own.toml:23: check headers: with: headers has no parameter 'surplus'",
        "own.toml:23: check headers: with: times must be a whole number",
        "own.toml:28: check retried: retry: times must be 1 to 3, "
        "and beside it there are `on` and `pause_s` alone",
        "own.toml:33: check unknown: required: must be true or false",
        "own.toml:32: check unknown: uses: there is no procedure 'nothing'",
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (HEALTH + HEALTH, "own.toml: check service-staging-health: its id is taken"),
        (
            HEALTH + 'needs = ["nobody"]\n',
            "own.toml: check service-staging-health: needs nobody, which there is not",
        ),
        (
            '[[checks]]\nid = "a"\nuses = "health"\nneeds = ["b"]\n[[checks]]\nid = "b"\nuses = "headers"\n',
            "own.toml: checks wait for each other: a -> b -> a",
        ),
    ],
)
def test_checks_have_to_fit_together(rows: str, problem: str) -> None:
    with pytest.raises(ManifestErrors) as caught:
        read(HEAD + rows)
    assert caught.value.problems == (problem,)


def test_nothing_may_wait_for_what_ends_last() -> None:
    catalogue = table([procedure("health"), procedure("window", place=Place.WINDOW)])
    rows = '[[checks]]\nid = "w"\nuses = "window"\n[[checks]]\nid = "h"\nuses = "health"\nneeds = ["w"]\n'
    with pytest.raises(ManifestErrors, match="check h: needs w, which ends last"):
        declared(HEAD + rows, "own.toml", catalogue=catalogue, environment={})


def test_no_toml_is_told_with_its_line() -> None:
    with pytest.raises(ManifestErrors, match=r"own.toml: .*line 2"):
        read("format = 1\nkind = \n")


def test_variables_are_replaced_and_those_of_secrets_stay_references() -> None:
    text = (
        HEAD.replace("A small one", "Of ${PLACE}")
        + '[identities.owner]\nkey = "${MY_SIGNING_KEY}"\n'
        + HEALTH
    )
    raw = read(text, PLACE="here", MY_SIGNING_KEY="hunter2hunter2").raw
    assert raw["title"] == "Of here"
    assert raw["identities"]["owner"]["key"] == "${MY_SIGNING_KEY}"
    with pytest.raises(ManifestErrors, match=r"own.toml:4: title: PLACE is not set"):
        read(text)


def test_settings_override_values_by_their_path() -> None:
    settings = [
        ("valid_for_s", "120"),
        ("targets.staging.base_url", "https://other.example"),
        ("checks.service-staging-health.with.times", "1"),
        ("features.files", "false"),
    ]
    made = read(HEAD + HEALTH, *settings)
    assert made.raw["valid_for_s"] == 120
    assert made.raw["targets"]["staging"]["base_url"] == "https://other.example"
    assert made.raw["features"] == {"files": False}
    assert made.checks[0].parameters["times"] == 1
    with pytest.raises(ManifestErrors, match=r"--set checks\.nobody\.required: there is no checks\.nobody"):
        read(HEAD + HEALTH, ("checks.nobody.required", "false"))


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("https://staging.example/path", "must be scheme and host alone, without a path"),
        ("staging.example", "must be http:// or https:// and a host"),
        ("https://user:word@staging.example", "must not hold a user or a password"),
        ("ftp://staging.example", "must be http:// or https:// and a host"),
        ("https://staging.example:none", "is no URL"),
        (f"https://{'a' * 64}.example", "is no URL"),
        ("https://staging..example", "is no URL"),
        ("https://\u00fc..example", "is no URL"),
        ("https://xn--zzzzzz.example", "is no URL"),
        ("https://sta ging.example", "is no URL"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, fault: str) -> None:
    with pytest.raises(ManifestErrors, match=f"STAGING_BASE_URL: {fault}"):
        matrix(HEAD + HEALTH, STAGING_BASE_URL=address)


def test_an_official_name_that_is_no_hosts_is_refused() -> None:
    named = HEAD.replace("[targets.staging]", f'[targets.staging]\ncanonical_host = "{"a" * 64}.example"')
    with pytest.raises(ManifestErrors, match=r"targets\.staging\.canonical_host: is no name of a host"):
        matrix(named + HEALTH, STAGING_BASE_URL="https://staging.example")


def test_the_environment_wins_over_the_manifest_and_an_option_over_both() -> None:
    text = HEAD.replace("${STAGING_BASE_URL}", "https://manifest.example") + HEALTH
    assert matrix(text).targets["staging"].base_url == "https://manifest.example"
    env = {"STAGING_BASE_URL": "https://env.example"}
    given = matrix(text, STAGING_BASE_URL=env["STAGING_BASE_URL"])
    assert given.targets["staging"].base_url == "https://env.example"
    made = read(text, ("targets.staging.base_url", "https://option.example"), **env)
    inputs, _ = read_inputs(env, {})
    whole = manifest_of(made, stage="before", inputs=inputs, previous=False)
    assert whole.targets["staging"].base_url == "https://option.example"


def test_rows_of_another_stage_and_of_another_kind_are_not_there() -> None:
    rows = HEALTH + 'stages = ["after"]\n' + '[[checks]]\nid = "mine"\nuses = "health"\nkinds = ["upgrade"]\n'
    rows += '[[checks]]\nid = "other"\nuses = "health"\nkinds = ["cutover"]\n'
    assert [one.id for one in matrix(HEAD + rows).checks] == ["mine"]
    assert [one.id for one in matrix(HEAD + rows, stage="after").checks] == ["service-staging-health", "mine"]


def test_a_feature_declared_absent_makes_its_rows_optional_and_says_so() -> None:
    (check,) = matrix(HEAD + "[features]\nfiles = false\n" + HEALTH + 'feature = "files"\n').checks
    assert (check.required, check.not_applicable) == (False, "files")
    (check,) = matrix(HEAD + HEALTH + 'feature = "files"\n').checks
    assert (check.required, check.not_applicable) == (True, "")


def test_metrics_of_our_own_are_asked_of_an_existing_server_only_where_it_has_an_address_for_them() -> None:
    catalogue = table([procedure("scrape", own_metrics=True)])
    text = HEAD.replace('writes = "throwaway"', 'server = "rust"')
    text += '[[checks]]\nid = "scrape"\nuses = "scrape"\ntarget = "staging"\n'
    made = declared(text, "own.toml", catalogue=catalogue, environment={})
    rows = manifest_of(made, stage="before", inputs=Inputs({}), previous=False).checks
    assert not rows
    inputs, _ = read_inputs({"STAGING_METRICS_URL": "http://127.0.0.1:9464/metrics"}, {})
    rows = manifest_of(made, stage="before", inputs=inputs, previous=False).checks
    assert [(row.id, row.required) for row in rows] == [("scrape", False)]


def test_lines_are_those_of_the_keys() -> None:
    lines = ["a = 1", '"b.c" = """', "d = 2", '"""', "[t.u]", "x.y = 3 # [not]", "[[l]]", "k = '''[z]'''"]
    text = "\n".join([*lines, "[[l]]", "k = 5", "[l.m]", "n = 1", ""])
    assert tomllib.loads(text)["l"][1] == {"k": 5, "m": {"n": 1}}
    assert key_lines(text) == {
        ("a",): 1,
        ("b.c",): 2,
        ("t", "u"): 5,
        ("t", "u", "x", "y"): 6,
        ("l", 0): 7,
        ("l", 0, "k"): 8,
        ("l", 1): 9,
        ("l", 1, "k"): 10,
        ("l", 1, "m"): 11,
        ("l", 1, "m", "n"): 12,
    }


def test_the_same_policy_has_one_digest_wherever_it_looks() -> None:
    one = digest(read(HEAD + HEALTH))
    elsewhere = HEAD.replace("${STAGING_BASE_URL}", "https://other.example")
    assert digest(read(elsewhere + HEALTH + 'description = "in other words"\n')) == one
    assert digest(read(HEAD.replace('"small"', '"large"') + HEALTH)) == one
    changes = [
        "with = { times = 4 }\n",
        "required = false\n",
        "timeout_s = 31\n",
        'stages = ["before"]\n',
        'feature = "files"\n',
        'retry = { times = 1, on = ["dns"] }\n',
    ]
    digests = {digest(read(HEAD + HEALTH + change)) for change in changes}
    assert len(digests | {one}) == len(changes) + 1
    assert digest(read(HEAD.replace("60", "61") + HEALTH)) != one


@pytest.mark.parametrize(
    ("row", "change", "is_looser"),
    [
        ("required = false\n", ("required", True, False), True),
        ("with = { deadline_ms = 3001 }\n", ("with.deadline_ms", 3000, 3001), True),
        ("with = { deadline_ms = 2999 }\n", ("with.deadline_ms", 3000, 2999), False),
        ("with = { times = 4 }\n", ("with.times", 5, 4), True),
        ("with = { times = 6 }\n", ("with.times", 5, 6), False),
        ('with = { word = "y" }\n', ("with.word", "x", "y"), True),
        ("with = { strict = false }\n", ("with.strict", True, False), True),
        ("timeout_s = 31\n", ("timeout_s", 30, 31), True),
        ("timeout_s = 29\n", ("timeout_s", 30, 29), False),
        ('stages = ["after"]\n', ("stages", ["after", "before"], ["after"]), True),
        ('feature = "files"\n', ("feature", "", "files"), True),
        ('retry = { times = 1, on = ["dns"] }\n', ("retry", None, "1 on dns"), True),
        ('lane = "auth"\n', ("lane", "service", "auth"), True),
    ],
)
def test_what_lets_more_pass_is_looser_and_what_lets_less_pass_is_tighter(
    row: str, change: tuple[str, object, object], is_looser: bool
) -> None:
    found = compare(read(HEAD + HEALTH), read(HEAD + HEALTH + row))
    key, before, now = change
    expected = [Change("service-staging-health", key, before, now)]
    assert found == ((expected, []) if is_looser else ([], expected))
    back = compare(read(HEAD + HEALTH + row), read(HEAD + HEALTH))
    if key not in ("with.word", "with.strict", "lane"):  # of these every other value counts as looser
        assert bool(back[0]) != is_looser


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("optional = true", "optional"),
        ("scratch = true", "scratch"),
        ('writes = "throwaway"', "writable"),
        ('server = "rust"', "existing"),
    ],
)
def test_a_target_whose_rows_may_go_or_that_may_be_written_is_looser(line: str, key: str) -> None:
    """Without its address none of the rows of an optional target are there."""
    plain = HEAD.replace('writes = "throwaway"\n', "")
    before = read(plain + HEALTH)
    now = read(plain.replace("[targets.staging]", f"[targets.staging]\n{line}") + HEALTH)
    change = Change("", f"targets.staging.{key}", False, True)
    assert compare(before, now) == ([change], [])
    assert compare(now, before) == ([], [replace(change, builtin=True, here=False)])
    assert digest(before) != digest(now)


def test_where_a_check_looks_is_neither() -> None:
    row = 'with = { where = "there" }\ndescription = "in other words"\n'
    assert compare(read(HEAD + HEALTH), read(HEAD + HEALTH + row)) == ([], [])


def test_a_required_row_that_is_gone_or_of_another_procedure_is_looser_and_a_new_one_is_tighter() -> None:
    whole, empty = read(HEAD + HEALTH), read(HEAD)
    assert compare(whole, empty) == ([Change("service-staging-health", "row", "required", "removed")], [])
    assert compare(empty, whole) == ([], [Change("service-staging-health", "row", "none", "required")])
    renamed = read(HEAD + HEALTH.replace('"health"', '"headers"'))
    assert compare(whole, renamed) == ([Change("service-staging-health", "uses", "health", "headers")], [])
    optional = read(HEAD + HEALTH + "required = false\n")
    assert compare(optional, empty) == ([], [])


@pytest.mark.parametrize("kind", ["cutover", "upgrade", "rollback", "decommission", "selfhost"])
def test_the_files_of_the_built_in_kinds_are_where_the_package_has_them(kind: str) -> None:
    raw = tomllib.loads((BUILT_IN / f"{kind}.toml").read_text())
    assert (raw["kind"], raw["extends"]) == (kind, "matrix")


def test_directions_cover_every_type_of_parameter() -> None:
    for direction, (before, now) in itertools.product(Looser, [(1, 2), (2, 1)]):
        expected = {Looser.UP: now > before, Looser.DOWN: now < before, Looser.ANY: True, Looser.NEVER: False}
        assert is_looser(direction, before, now) == expected[direction]
