"""What a batch, a loss and a metric are: classes, labels, numbers, masks, the next character."""
