"""What a model finds in many images: folders, archives, videos, clusters, and what is written."""
