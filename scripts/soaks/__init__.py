"""What ``scripts/soak`` runs. The tests run the same, smaller."""
