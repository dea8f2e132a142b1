-- What was ordered from the supplier. Levels are not here: the agent knows them.
CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL, count INTEGER NOT NULL CHECK(count > 0), cost INTEGER NOT NULL) STRICT;
