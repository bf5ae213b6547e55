import os

import requests


def get(path):
    answer = requests.get(f"{os.environ['API']}/{path}", timeout=10)
    answer.raise_for_status()
    return [answer.json()]
