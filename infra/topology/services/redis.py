"""Redis: the messages between Prefect's servers, and who holds which concurrency slot."""

from infra.topology.programs import Program, give_to, start, wait_until
from infra.topology.site import HOST, ROOT, Site, find_program

NAME = "redis"
USER = "redis"  # Debian's


def up(site: Site) -> None:
    """Start the server."""
    data = site.data(NAME)
    # The password stands in a file, since a command line is for everybody on the machine to read.
    conf = data / "redis.conf"
    conf.touch(0o600)
    conf.write_text(
        f"bind {HOST}\nport {site.port(NAME)}\nrequirepass {site.secret(NAME)}\n"
        f"dir {data}\nappendonly yes\ndaemonize no\n",
        encoding="utf-8",
    )
    give_to(USER, data)
    give_to(USER, conf)
    command = (str(find_program("redis-server")), str(conf))
    environment = {"LC_ALL": "C.UTF-8"}
    start(Program(NAME, command, environment, site.port(NAME), USER), site.folder, ROOT)
    wait_until(lambda: _answers(site), NAME, site.folder)


def url(site: Site, database: int) -> str:
    """The address of one of its databases."""
    return f"redis://:{site.secret(NAME)}@{HOST}:{site.port(NAME)}/{database}"


def _answers(site: Site) -> bool:
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(url(site, 0), socket_timeout=5) as client:
            return bool(client.ping())
    except RedisError:
        return False
