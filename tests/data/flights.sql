-- The nycflights13 tables: all flights that left New York City's airports in 2013.

CREATE TABLE airlines (
  carrier CHAR(2) NOT NULL PRIMARY KEY,
  name VARCHAR(60) NOT NULL
);

CREATE TABLE airports (
  faa CHAR(3) NOT NULL PRIMARY KEY,
  name VARCHAR(80) NOT NULL,
  lat DOUBLE NOT NULL,
  lon DOUBLE NOT NULL,
  alt INT NOT NULL,
  tz DECIMAL(3,1),
  dst CHAR(1),
  tzone VARCHAR(40)
);

CREATE TABLE planes (
  tailnum VARCHAR(6) NOT NULL PRIMARY KEY,
  year SMALLINT,
  type VARCHAR(40) NOT NULL,
  manufacturer VARCHAR(40) NOT NULL,
  model VARCHAR(40) NOT NULL,
  engines TINYINT NOT NULL,
  seats SMALLINT NOT NULL,
  speed SMALLINT,
  engine VARCHAR(20) NOT NULL
);

CREATE TABLE weather (
  origin CHAR(3) NOT NULL,
  year SMALLINT NOT NULL,
  month TINYINT NOT NULL,
  day TINYINT NOT NULL,
  hour TINYINT NOT NULL,
  temp DOUBLE,
  dewp DOUBLE,
  humid DOUBLE,
  wind_dir SMALLINT,
  wind_speed DOUBLE,
  wind_gust DOUBLE,
  precip DOUBLE,
  pressure DOUBLE,
  visib DOUBLE,
  time_hour DATETIME NOT NULL
);

CREATE TABLE flights (
  year SMALLINT NOT NULL,
  month TINYINT NOT NULL,
  day TINYINT NOT NULL,
  dep_time SMALLINT,
  sched_dep_time SMALLINT NOT NULL,
  dep_delay SMALLINT,
  arr_time SMALLINT,
  sched_arr_time SMALLINT NOT NULL,
  arr_delay SMALLINT,
  carrier CHAR(2) NOT NULL,
  flight SMALLINT NOT NULL,
  tailnum VARCHAR(6),
  origin CHAR(3) NOT NULL,
  dest CHAR(3) NOT NULL,
  air_time SMALLINT,
  distance SMALLINT NOT NULL,
  hour TINYINT NOT NULL,
  minute TINYINT NOT NULL,
  time_hour DATETIME NOT NULL,
  PRIMARY KEY (year, month, day, carrier, flight, sched_dep_time, origin)
);
