-- Run from the top of the project: millibar sql -f examples/forecast.sql
CREATE EXTERNAL TABLE forecast STORED AS TENSOGRAM
LOCATION 'examples/data/temperature_{time:%Y%m%d}.tgm'
OPTIONS (variables 'temperature_{level}hPa');

SELECT mean(temperature) FROM forecast WHERE level = 500;

SELECT mean(temperature), std(temperature), min(temperature), max(temperature) FROM forecast;

SELECT time, mean(temperature) FROM forecast
WHERE level = 400 AND latitude BETWEEN -10 AND 10
GROUP BY time ORDER BY time;
