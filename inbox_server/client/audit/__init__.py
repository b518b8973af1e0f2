"""Whether the own inboxes hide anything: their logs, held against what was seen and against contacts' receipts."""
