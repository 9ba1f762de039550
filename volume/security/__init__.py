"""Who may: keys, tokens, white list and TLS, from `security.toml`."""
