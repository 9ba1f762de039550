"""Who listens and who is there: fan-out, presence, mailboxes."""
