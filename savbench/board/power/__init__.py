"""Power, heat and clocks: read from the board, recorded beside a run, and turned into energy per frame. No torch here."""
