"""The rules of an upgrade: snapshots, decisions, state and verdict. All of it is PURE."""
