"""What a trained model finds in one image: the model found, its network, its boxes, its export."""
