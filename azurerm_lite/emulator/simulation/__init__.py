"""What Azure does, without HTTP: state and events, behaviour above them. `compose` puts it together."""
