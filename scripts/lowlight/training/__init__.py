"""How a run is begun, continued and recorded."""
