-- The questions of examples/dask_tutorial.py. Run from the top of the project: millibar sql -f examples/tutorial.sql
CREATE EXTERNAL TABLE forecast STORED AS TENSOGRAM
LOCATION 'examples/data/temperature_{time:%Y%m%d}.tgm'
OPTIONS (variables 'temperature_{level}hPa');

-- everything
SELECT count(temperature) AS count, min(temperature) AS min, max(temperature) AS max,
       mean(temperature) AS mean, std(temperature) AS std
FROM forecast;

-- a point
SELECT count(temperature) AS count, min(temperature) AS min, max(temperature) AS max,
       mean(temperature) AS mean, std(temperature) AS std
FROM forecast WHERE latitude = 17.5 AND longitude = 115;

-- a level
SELECT count(temperature) AS count, min(temperature) AS min, max(temperature) AS max,
       mean(temperature) AS mean, std(temperature) AS std
FROM forecast WHERE level = 400;

-- a band
SELECT count(temperature) AS count, min(temperature) AS min, max(temperature) AS max,
       mean(temperature) AS mean, std(temperature) AS std
FROM forecast WHERE latitude BETWEEN -10 AND 10;
