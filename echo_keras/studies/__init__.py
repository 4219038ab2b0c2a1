"""Many runs: what varies, their records and tables, and where they run."""
