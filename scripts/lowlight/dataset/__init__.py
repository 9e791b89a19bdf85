"""What is in the data: ExDark's and COCO's labels, tables, splits, records, and their page."""
