"""What every forge adapter must do (reconciler/ports.py). A forge joins by a fixture; see conftest.py."""
