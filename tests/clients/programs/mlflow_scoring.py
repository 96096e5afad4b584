"""MLflow's own client of its scoring server, unchanged: argument 1 is the URL of a server whose default model doubles a table."""

import sys
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from checks import refused, run_all
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

TABLE = pd.DataFrame({"age": [1.0, 4.0], "height": [2.0, None], "weight": [3.0, 6.0]})


def check_it_is_ready_and_says_its_version(client):
    client.wait_server_ready(timeout=10)
    client.ping()
    assert client.get_version().strip()


def check_a_data_frame_in_any_order_of_columns(client):
    for columns in (["age", "height", "weight"], ["weight", "age", "height"]):
        found = client.invoke(TABLE[columns]).get_predictions()
        np.testing.assert_array_equal(found.to_numpy(np.float64), TABLE.to_numpy() * 2)


def check_an_array(client):
    found = client.invoke(np.array([[1, 2, 3], [4, 5, 6]], np.float32)).get_predictions(predictions_format="ndarray")
    np.testing.assert_array_equal(found, [[2, 4, 6], [8, 10, 12]])


def check_what_does_not_fit_is_said(client):
    refused(lambda: client.invoke(TABLE.rename(columns={"age": "aeg"})), "Did you mean 'age'")
    refused(lambda: client.invoke(TABLE, params={"temperature": 1}), "no parameter 'temperature'")


if __name__ == "__main__":
    url = urlsplit(sys.argv[1])
    run_all(globals(), ScoringServerClient(url.hostname, url.port))
