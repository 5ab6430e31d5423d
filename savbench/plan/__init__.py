"""What to run: settings, arms, their order, shards, weights files, and the job of one worker process.

Imports `data`, `runners` and `attention`; never torch. Begin with `settings` (every setting of a run, declared once), then `arms`."""
