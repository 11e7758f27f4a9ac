"""From a job to units, crontab entries and manifests."""
