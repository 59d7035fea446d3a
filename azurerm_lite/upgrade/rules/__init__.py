"""The rules of an upgrade: what is seen, what follows from it, how far it is, how it came out. All of it is PURE."""
