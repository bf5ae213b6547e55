from helpers import get

from api2db.ingest import *
from api2db.store import *
from api2db.stream import *


def snow_import():
    return get("snow")


def snow_form():
    pre_process = [ListExtract(lambda x: x["data"])]
    data_features = [Feature("id", lambda x: x["id"], int)]
    post_process = []
    return ApiForm(name="snow", pre_process=pre_process, data_features=data_features, post_process=post_process)


def snow_streams():
    streams = [Stream2Local(name="snow")]
    return streams


def snow_stores():
    stores = []
    return stores


snow_info = Collector(
    name="snow",
    seconds=0,
    import_target=snow_import,
    api_form=snow_form,
    streams=snow_streams,
    stores=snow_stores,
    debug=True,
)
