-- Version 6: what was said of an item is found by the item, and requests may be taken back.

-- It lies in the bodies of the batch that said it.
ALTER TABLE record_answers DROP COLUMN place;

-- Requests that were made for an endpoint that is not asked any more, and not sent, were never there.
CREATE TRIGGER requests_end AFTER DELETE ON requests BEGIN
    UPDATE tallies SET number = number - 1 WHERE what = 'requests' AND value = old.state;
END;
