"""The commands that need the server's libraries, which a client's installation lacks, and how those commands fail."""

from inbox_server.commands.backup import add_backup, add_restore
from inbox_server.commands.dev import add_demo, add_dev
from inbox_server.commands.doctor import add_doctor
from inbox_server.commands.init import add_init
from inbox_server.commands.invite import add_invites
from inbox_server.commands.serve import add_serve
from inbox_server.http.listening import CannotListen
from inbox_server.store.contract import BadDatabase
from inbox_server.world.demo import DemoFailed
from inbox_server.world.local_world import PortsTaken

COMMANDS = (add_demo, add_init, add_serve, add_invites, add_backup, add_restore, add_doctor, add_dev)
FAILURES = (BadDatabase, CannotListen, PortsTaken, DemoFailed)
