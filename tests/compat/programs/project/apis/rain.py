from helpers import get

from api2db.ingest import *
from api2db.store import *
from api2db.stream import *


def rain_import():
    return get("rain")


def rain_form():
    pre_process = [ListExtract(lambda x: x["data"])]
    data_features = [Feature("id", lambda x: x["id"], int)]
    post_process = []
    return ApiForm(name="rain", pre_process=pre_process, data_features=data_features, post_process=post_process)


def rain_streams():
    streams = [Stream2Local(name="rain")]
    return streams


def rain_stores():
    stores = []
    return stores


rain_info = Collector(
    name="rain",
    seconds=0.1,
    import_target=rain_import,
    api_form=rain_form,
    streams=rain_streams,
    stores=rain_stores,
    debug=True,
)
