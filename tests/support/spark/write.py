"""How the folders beside this file were made: `python write.py MOVIES_DB`, with pyspark 4.3.0 on Java 17.

MOVIES_DB is the SQLite file of films (CC0) in the package bokeh-sampledata 2026.1. PySpark writes the Parquet itself,
with its own settings: `films` has vectors as arrays of float in two parts, `doubles` as arrays of double.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DoubleType, FloatType, IntegerType, StringType, StructField, StructType

from recsys.config.encoder import EncoderSpec
from recsys.encoders.loading import load_encoder, prepare_encoder

HERE = Path(__file__).parent
QUERY = """SELECT ID, Title, Genre || '. Directed by ' || Director, Genre, Year FROM omdb
           WHERE Oscars > 0 AND Genre != '' AND Director != '' ORDER BY imdbVotes DESC LIMIT 60"""


def main() -> None:
    spec, models = EncoderSpec(), Path(sys.argv[2] if len(sys.argv) > 2 else "var/models")
    prepare_encoder(spec, models)
    with sqlite3.connect(sys.argv[1]) as database:
        films = database.execute(QUERY).fetchall()
    vectors = load_encoder(spec, models).encode([f"{title}. {text}" for _, title, text, *_ in films]).tolist()
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    for name, kind, count, parts in (("films", FloatType(), 60, 2), ("doubles", DoubleType(), 8, 1)):
        rows = [
            (number, title, text, genres.split(", "), year, vector)
            for (number, title, text, genres, year), vector in zip(films[:count], vectors, strict=False)
        ]
        frame = spark.createDataFrame(rows, schema(kind))
        frame.repartition(parts).write.mode("overwrite").parquet(str(HERE / name))
    spark.stop()


def schema(kind: FloatType | DoubleType) -> StructType:
    return StructType(
        [
            StructField("item_id", IntegerType()),
            StructField("title", StringType()),
            StructField("text", StringType()),
            StructField("genres", ArrayType(StringType())),
            StructField("year", IntegerType()),
            StructField("vector", ArrayType(kind)),
        ]
    )


if __name__ == "__main__":
    main()
