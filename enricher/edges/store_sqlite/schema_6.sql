-- Version 6: what was said of an item is found by the item, in the bodies of its batch.
ALTER TABLE record_answers DROP COLUMN place;
