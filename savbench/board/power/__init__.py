"""Power, temperature and clocks: reading them, recording them during a run, and computing energy per frame. No torch here."""
