"""Every byte in or out; adapters do not know each other."""
