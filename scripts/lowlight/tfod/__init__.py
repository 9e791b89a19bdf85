"""What TFOD needs and gives: its repairs, models, configs and start checkpoints."""
