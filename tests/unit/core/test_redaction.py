import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.redaction import RedactionRules, Rule, Treatment, merged, parse_rules, sounds_private
from fairlead.errors import SpecError


def test_the_first_rule_that_fits_counts() -> None:
    rules = parse_rules("age=keep, a*=drop; *=hash")
    assert [rules.find(f"input:{name}").treatment.value for name in ("age", "area", "size")] == ["keep", "drop", "hash"]


def test_names_are_compared_without_case_and_brackets_are_only_brackets() -> None:
    rules = parse_rules("Email=hash, x[3]=drop")
    assert rules.find("input:email").treatment is Treatment.HASH
    assert rules.find("input:x[3]").treatment is Treatment.DROP
    assert rules.find("input:x3") is None


def test_a_rule_can_be_for_one_side_alone() -> None:
    rules = parse_rules("input:score=drop")
    assert rules.find("input:score").treatment is Treatment.DROP
    assert rules.find("output:score") is None


def test_buckets_have_a_width_or_growing_edges() -> None:
    assert parse_rules("age=bucket(10)").rules == (Rule("age", Treatment.BUCKET, (10.0,)),)
    assert parse_rules("age=bucket(0;18; 65)").rules[0].edges == (0.0, 18.0, 65.0)


NO_RULES = (
    *("email", "=drop", "email=burn", "a=drop b=keep", "a=bucket", "a=bucket()", "a=bucket(0)", "a=bucket(-1)", "a=bucket(2;1)"),
    *("a=bucket(1;1)", "a=bucket(nan)", "a=bucket(inf)", "a=keep(3)", "a==drop", "a=bucket(1,2)", "a" * 200 + "=drop", "a=drop," * 300),
)


@pytest.mark.parametrize("text", NO_RULES)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_rules(text)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "user.email",
        "Email Address",
        "cardNumber",
        "customer_first_name",
        "API-Key",
        "iban",
        "date_of_birth",
        "token",
        "name",
        "x-api_key",
    ],
)
def test_names_of_secrets_and_of_persons_are_heard(name: str) -> None:
    assert sounds_private(f"input:{name}")
    assert RedactionRules().find(f"input:{name}").treatment is Treatment.DROP


@pytest.mark.parametrize(
    "name", ["age", "token_type_ids", "tokens", "pinned", "x[0]", "phones_owned", "street", "surnames", "emailed", "model_name"]
)
def test_other_names_are_not(name: str) -> None:
    assert not sounds_private(f"input:{name}")


def test_a_rule_can_keep_what_sounds_private() -> None:
    assert parse_rules("email=keep").find("input:email").treatment is Treatment.KEEP


def test_a_models_own_rules_count_before_those_of_the_settings() -> None:
    assert merged(parse_rules("a=keep"), parse_rules("a=drop, b=drop")).find("input:a").treatment is Treatment.KEEP


@given(st.text(max_size=60))
def test_any_text_is_rules_or_is_refused(text: str) -> None:
    try:
        rules = parse_rules(text)
    except SpecError:
        return
    assert parse_rules(str(rules)) == rules
