"""`inbox-server client audit` and `verify-receipt`: whether a server hides anything, and what proves it."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inbox_server.client.audit.evidence import MOST_EVIDENCE_BYTES, BadEvidence, check_evidence, render_evidence
from inbox_server.client.audit.findings import Finding
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Audit
from inbox_server.commands import exit_codes
from inbox_server.commands.client_command import Output, UsageError, add_command, check_seen, with_client
from inbox_server.commands.client_entries import show_message
from inbox_server.commands.client_messages import need_inbox
from inbox_server.commands.terminal import Commands, marked
from inbox_server.synced_files import write_new_file


def add_audit(commands: Commands) -> None:
    command = add_command(
        commands,
        "audit",
        help="check that your inboxes hide nothing from you",
        description="Check the log of each of your inboxes, and hold it against what was listed here before and against"
        " the receipts that the senders keep for you. What an inbox does not show is fetched from the sender's own"
        " bucket, and shown.",
        epilog="Exit codes: 0 everything is accounted for; 1 something is missing or was rewritten, or the command"
        " did not finish; 2 usage error (arguments, or the profile's file); 3 something cannot be checked, or was"
        " found only in its sender's bucket; 130 stopped by Ctrl-C.",
    )
    command.add_argument("--ack", action="store_true", help="acknowledge what was found elsewhere and shown")
    command.add_argument(
        "--evidence",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="where to write a file of evidence for each accusation (default: the current folder)",
    )
    command.set_defaults(run=_audit)


def add_verify_receipt(commands: Commands) -> None:
    command = add_command(
        commands,
        "verify-receipt",
        help="check a piece of evidence that somebody gave you",
        description="Check a file that `audit` has written, without asking anybody: what the server has signed, and"
        " whether it contradicts itself.",
        epilog="Exit codes: 0 the server has contradicted itself; 1 the file proves nothing; 2 the file cannot be read;"
        " 3 what is in it is genuine, but shows no contradiction.",
    )
    command.add_argument("file", metavar="FILE", type=Path, help="the evidence")
    command.set_defaults(run=_verify)


def _audit(options: argparse.Namespace) -> int:
    def check() -> None:
        if options.ack:
            check_seen()

    async def audit(client: InboxClient, output: Output) -> int:
        need_inbox(client, output)
        result = await client.audit()
        output.taken_over(result.taken_over)
        tell_audit(result, output)
        for number, each in enumerate(_with_evidence(result), 1):
            _write_evidence(options.evidence, number, each, output)
        shown = [entry for entry in result.found if await show_message(client, entry, output)]
        if options.ack and shown:
            await client.acknowledge(shown)
        if result.is_accusation:
            return exit_codes.FAILED
        return 0 if result.is_in_order else exit_codes.PARTLY

    return with_client(options, audit, before=check)


def tell_audit(result: Audit, output: Output) -> None:
    """What was found, in words; for a script, everything in one document."""
    verdict = "missing" if result.is_accusation else "accounted" if result.is_in_order else "unchecked"
    document: dict[str, Any] = {
        "audit": verdict,
        "entries": result.entries,
        "receipts": result.receipts,
        "findings": [_finding_document(each) for each in result.findings],
        "found": [entry.ids[0] for entry in result.found],
        "unread_indexes": [{"from": sender, "why": why} for sender, why in result.unread_indexes],
    }
    output.tell("\n".join(_lines(result, verdict)), document)


def _lines(result: Audit, verdict: str) -> Iterator[str]:
    looked = f"entries in logs: {result.entries:,}; receipts that senders keep: {result.receipts:,}"
    yield {
        "accounted": f"everything is accounted for ({looked})",
        "missing": f"something is missing, or was rewritten ({looked})",
        "unchecked": f"no server is shown to hide anything, but not everything is accounted for ({looked})",
    }[verdict]
    for each in result.findings:
        what = f" {each.entry[:12]}" if each.entry else ""
        sender = f" from {marked(each.sender)}" if each.sender else ""
        yield f"   {each.inbox or 'your bucket'}: {marked(each.says)} ({each.code}{what}{sender})"
    for sender, why in result.unread_indexes:
        yield f"   the index of {marked(sender)} cannot be read now: {marked(why)}"
    if result.found:
        yield f"   found in the senders' own buckets, and shown below: {len(result.found)}"


def _finding_document(each: Finding) -> dict[str, Any]:
    return {
        "code": each.code,
        "accuses": each.is_accusation,
        "inbox": each.inbox,
        "says": each.says,
        "entry": each.entry,
        "from": each.sender,
    }


def _with_evidence(result: Audit) -> Iterator[Finding]:
    yield from (each for each in result.findings if each.is_accusation and each.evidence)


def _write_evidence(folder: Path, number: int, each: Finding, output: Output) -> None:
    """Under a name that is not taken yet. Raises `UsageError`."""
    name = f"evidence-{each.code}-{each.entry[:12] or number}"
    for attempt in range(1000):
        path = folder / (f"{name}.json" if not attempt else f"{name}-{attempt}.json")
        if path.exists():
            continue
        try:
            write_new_file(path, render_evidence(each.evidence or {}))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}; name a folder with --evidence") from None
        output.progress(f"evidence is in {path}", {"evidence": str(path), "code": each.code})
        return


def _verify(options: argparse.Namespace) -> int:
    output = Output(options)
    try:
        with options.file.open("rb") as file:
            verdict = check_evidence(file.read(MOST_EVIDENCE_BYTES + 1))
    except OSError as error:
        output.fail(f"{options.file} cannot be read: {error.strerror}", "usage_error")
        return exit_codes.USAGE
    except BadEvidence as error:
        output.fail(f"{options.file} {error}", "BadEvidence")
        return exit_codes.FAILED
    head = "the server has contradicted itself:" if verdict.is_proof else "this is genuine, and shows no contradiction:"
    document = {"proof": verdict.is_proof, "says": list(verdict.says)}
    output.tell("\n".join([head, *(f"   {marked(line)}" for line in verdict.says)]), document)
    return 0 if verdict.is_proof else exit_codes.PARTLY
