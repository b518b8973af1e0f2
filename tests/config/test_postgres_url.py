"""`store.url`: what names a database, what does not, and that no mistake quotes it."""

from pathlib import Path
from typing import Any

import pytest

from inbox_server.config.config import BadConfig, Config
from inbox_server.config.file import parse_config
from inbox_server.config.postgres_url import EXAMPLE
from inbox_server.config.secret import DATABASE_CREDENTIAL, BadSecret, read_database_password

GOOD = [
    "postgresql://inbox@db1,db2:5433/inbox?sslmode=verify-full&sslrootcert=/etc/inbox-server/db-ca.pem",
    "postgres://inbox@10.0.0.1,[fd00::1]:5433/inbox?sslmode=require",
    "postgresql://inbox@db1/inbox?sslmode=disable",
    "postgresql://127.0.0.1/inbox",
    "postgresql://inbox@127.1.2.3:5433,%2Frun:5433/inbox",
    "postgresql://inbox@localhost:5433,[::1]/inbox?search_path=of_a_test",
    "postgresql://inbox@%2Fvar%2Frun%2Fpostgresql/inbox",
]
BAD = {
    "mysql://inbox@db1/inbox": "or a URL such as",
    "inbox@db1/inbox": "or a URL such as",
    "postgresql://inbox:hunter2@db1/inbox?sslmode=require": "must not hold a password",
    "postgresql://inbox:@db1/inbox?sslmode=require": "must not hold a password",
    "postgresql://inbox@db1/inbox?sslmode=require&password=hunter2": "must not hold a password",
    "postgresql:///inbox?host=db1": "must name its hosts",
    "postgresql://inbox@db1,,db2/inbox?sslmode=require": "must name its hosts",
    "postgresql://inbox@db1:port/inbox?sslmode=require": "must name its hosts",
    "postgresql://inbox@127.0.0.1:99999/inbox": "ports from 1 to 65535",
    "postgresql://inbox@127.0.0.1:5432,127.0.0.1:0/inbox": "ports from 1 to 65535",
    "postgresql://inbox@[fd00::1/inbox?sslmode=require": "is not a URL",
    "postgresql://inbox@db1?sslmode=require": "must end with the name of one database",
    "postgresql://inbox@db1/inbox/more?sslmode=require": "must end with the name of one database",
    "postgresql://inbox@db1/inbox?sslmode": "is not a URL",
    "postgresql://inbox@db1/inbox?sslmode=require&connect_timeout=3": "unknown option 'connect_timeout'",
    "postgresql://inbox@db1/inbox?sslmode=require&sslcert=client.pem": "sslcert must be an absolute path",
    "postgresql://inbox@db1/inbox": "must say how the connection to another host is secured",
    "postgresql://inbox@localhost.example/inbox": "must say how the connection to another host is secured",
    "postgresql://inbox@127.db.example/inbox": "must say how the connection to another host is secured",
    "postgresql://inbox@127.0.0.1,db1/inbox": "must say how the connection to another host is secured",
    "postgresql://inbox@db1/inbox?sslmode=prefer": "must say how the connection to another host is secured",
    "postgresql://inbox@127.0.0.1/inbox?sslmode=prefer": "must say how the connection to another host is secured",
    "postgresql://inbox@db1/inbox?sslmode=verify-full": "must name the certificates to trust",
}


def configured(**store: Any) -> Config:
    return parse_config({"server": {"public_url": "https://inbox.example"}, "store": store}, Path("/srv"))


@pytest.mark.parametrize("url", GOOD)
def test_a_database_is_named_and_its_name_is_shown_to_nobody(url: str) -> None:
    config = configured(url=url)
    assert config.store_url == url
    assert url not in repr(config)


def test_without_one_it_is_sqlite() -> None:
    config = configured()
    assert (config.store_url, config.store_password_file, config.store_day_keys_file) == ("", None, None)


@pytest.mark.parametrize("url", [*BAD, 7])
def test_what_names_no_database_is_a_mistake_that_does_not_quote_it(url: Any) -> None:
    with pytest.raises(BadConfig) as caught:
        configured(url=url)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("store.url: ")
    assert BAD.get(url, "must be a string") in mistake
    assert "hunter2" not in mistake
    assert str(url) not in mistake.replace(EXAMPLE, "")


def test_the_files_are_relative_to_the_configuration() -> None:
    config = configured(password_file="database-password", day_keys_file="/var/keys")
    assert config.store_password_file == Path("/srv/database-password")
    assert config.store_day_keys_file == Path("/var/keys")


def test_a_password_comes_from_a_private_file_or_a_credential(tmp_path: Path) -> None:
    path, credentials = tmp_path / "password", tmp_path / "credentials"
    path.touch(mode=0o600)
    path.write_text("two words\n")
    assert read_database_password(None, {}) is None
    assert read_database_password(path, {}) == "two words"
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert read_database_password(None, environment) is None
    (credentials / DATABASE_CREDENTIAL).write_text("systemd's")
    assert read_database_password(None, environment) == read_database_password(path, environment) == "systemd's"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"hunter2", 0o640, "others can read it; run: chmod 600"),
        (b"", 0o600, "in one line"),
        (b"hunter2\nhunter3", 0o600, "in one line"),
        ("hunter2\u00e9".encode(), 0o600, "cannot be read as text"),
    ],
)
def test_a_password_that_others_may_know_or_that_is_none_is_refused(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(BadSecret, match=said) as caught:
        read_database_password(path, {})
    assert "hunter" not in str(caught.value)
    with pytest.raises(BadSecret, match="put the database's password there"):
        read_database_password(tmp_path / "none", {})
