"""What api2db is compared with: programs of their own, run by the peers' Python. They import nothing of ours."""
