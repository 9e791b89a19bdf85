"""How a picture is read, written and drawn on, and all box arithmetic."""
