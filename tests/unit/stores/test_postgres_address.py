from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import SpecError
from fairlead.stores.postgres_address import parse_address

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(user=words, password=words, database=words.filter(lambda text: text.strip("/") == text))
def test_what_is_quoted_comes_back_and_the_password_is_never_shown(user, password, database):
    address = parse_address(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db.example.com/{quote(database, safe='')}")
    assert (address.user, address.password, address.database) == (user, password, database)
    assert address.shown == f"{user}@db.example.com:5432/{database}"
    assert "password" not in repr(address)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_typed_refusal(text):
    for url in (text, f"postgresql://{text}", f"postgresql://ann@host/{text}", f"postgresql://ann@host/db?{text}"):
        try:
            parse_address(url)
        except SpecError:
            continue


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("127.0.0.1", "disable"),
        ("localhost", "disable"),
        ("[::1]", "disable"),
        ("10.0.0.5", "verify-full"),
        ("db.example.com", "verify-full"),
        ("localhost.example.com", "verify-full"),
    ],
)
def test_what_leaves_this_machine_is_encrypted_and_checked(place, mode):
    assert parse_address(f"postgresql://ann@{place}/registry").ssl_mode == mode
    assert parse_address(f"postgresql://ann@{place}/registry?sslmode=require").ssl_mode == "require"


def test_a_socket_of_this_machine_can_be_named():
    address = parse_address("postgresql://ann@/registry?host=/var/run/postgresql&schema=team_a")
    assert (str(address.socket_folder), address.schema, address.ssl_mode) == ("/var/run/postgresql", "team_a", "disable")
    assert address.shown == "ann@/var/run/postgresql/registry"


def test_a_password_from_elsewhere_counts_where_the_url_names_none():
    assert parse_address("postgresql://ann@host/db", password="x").password == "x"
    assert parse_address("postgresql://ann:y@host/db", password="x").password == "y"


@pytest.mark.parametrize("option", ["schema=A", "schema=a;drop", "schema=" + "a" * 49, "sslmode=prefer", "options=-c", "password=x"])
def test_an_option_that_is_none_is_refused(option):
    with pytest.raises(SpecError):
        parse_address(f"postgresql://ann@host/db?{option}")
