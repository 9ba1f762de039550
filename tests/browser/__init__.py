"""What a person sees: the client and the pages in a real Chromium (`make test-browser`)."""
