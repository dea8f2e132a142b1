-- The valves of a small house, as they were left.
CREATE TABLE valves(room TEXT PRIMARY KEY NOT NULL, percent INTEGER NOT NULL CHECK(percent BETWEEN 0 AND 100)) STRICT;
INSERT INTO valves(room, percent) VALUES ('bath', 0), ('kitchen', 0), ('living-room', 60);
