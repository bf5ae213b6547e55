"""People are told: what goes wrong and what is over again, grouped, once, by webhook or by a program of theirs."""
