"""Files and programs that come from anywhere: all hardening lives here."""
