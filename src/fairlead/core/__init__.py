"""Values and ports: frozen values that cross rooms, and every Protocol. numpy only; no I/O, no clock."""
