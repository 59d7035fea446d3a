"""An explicit-state search over `machine.decide` and `machine.apply`, in a world that may do almost anything."""
